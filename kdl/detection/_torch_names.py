"""Names of torchvision's detectors for the layers of kdl's."""


def of_backbone(backbone, neck):
    """Templates for a backbone and its `FeaturePyramid`; None if the backbone has no such names.

    Args:
        backbone: A model of kdl.
        neck: Name of the pyramid's layer.
    """
    names = getattr(backbone, "reference_names", dict)().get("torchvision")
    if names is None:
        return None
    templates = {path: f"backbone.body.{name}" for path, name in names.items()}
    for ours, theirs in (("lateral", "inner_blocks"), ("output", "layer_blocks")):
        templates[f"{neck}/{ours}_{{i}}"] = f"backbone.fpn.{theirs}.{{i}}.0"
        templates[f"{neck}/{ours}_{{i}}_norm"] = f"backbone.fpn.{theirs}.{{i}}.1"
    for extra in ("p6", "p7"):
        templates[f"{neck}/{extra}"] = f"backbone.fpn.extra_blocks.{extra}"
    return templates


def of_retinanet(backbone, neck, head):
    """Names of RetinaNet by project; none if the backbone has no such names."""
    templates = of_backbone(backbone, neck)
    if templates is None:
        return {}
    towers = {"class": "head.classification_head", "box": "head.regression_head"}
    for tower, module in towers.items():
        templates[f"{head}/{tower}_conv{{i}}"] = f"{module}.conv.{{i}}.0"
        templates[f"{head}/{tower}_norm{{i}}"] = f"{module}.conv.{{i}}.1"
    templates[f"{head}/class_logits"] = f"{towers['class']}.cls_logits"
    templates[f"{head}/box_offsets"] = f"{towers['box']}.bbox_reg"
    return {"torchvision": templates}


def of_fcos(backbone, neck, head):
    """Names of FCOS by project; none if the backbone has no such names.

    Args:
        backbone: A model of kdl.
        neck: Name of the pyramid's layer.
        head: The `FCOSHead`.
    """
    templates = of_backbone(backbone, neck)
    if templates is None:
        return {}
    classes, boxes = "head.classification_head", "head.regression_head"
    for tower, module in (("class", classes), ("box", boxes)):
        for number in range(getattr(head, "depth", 0)):
            # Convolution, norm and ReLU have a place each.
            place = f"{head.name}/{tower}"
            templates[f"{place}_conv{number}"] = f"{module}.conv.{3 * number}"
            templates[f"{place}_norm{number}"] = f"{module}.conv.{3 * number + 1}"
    templates[f"{head.name}/class_logits"] = f"{classes}.cls_logits"
    templates[f"{head.name}/box_offsets"] = f"{boxes}.bbox_reg"
    templates[f"{head.name}/centerness"] = f"{boxes}.bbox_ctrness"
    return {"torchvision": templates}


def of_ssd(backbone, neck, head):
    """Names of SSD and SSDLite by project; none if the backbone has no such names.

    Args:
        backbone: A model of kdl.
        neck: The `SSDExtras`.
        head: The `SSDHead`.
    """
    names = getattr(backbone, "reference_names", dict)().get("torchvision_ssd")
    if names is None:
        return {}
    templates = dict(names)
    if getattr(neck, "separable", False):
        templates[f"{neck.name}/stage{{i}}_conv{{j}}"] = "backbone.extra.{i}.{j}.0"
        templates[f"{neck.name}/stage{{i}}_norm{{j}}"] = "backbone.extra.{i}.{j}.1"
    else:
        # Behind the end of VGG, which stands at the first place; ReLUs have places, too.
        for number in range(8):
            for conv in (0, 1):
                place = f"backbone.extra.{number + 1}.{2 * conv}"
                templates[f"{neck.name}/stage{number}_conv{conv}"] = place
    for ours, theirs in (("class", "classification"), ("box", "regression")):
        place, layer = f"head.{theirs}_head.module_list.{{i}}", f"{head.name}/{ours}{{i}}"
        separable = getattr(head, "separable", False)
        templates[f"{layer}_conv"] = f"{place}.1" if separable else place
        templates[f"{layer}_depthwise"] = f"{place}.0.0"
        templates[f"{layer}_norm"] = f"{place}.0.1"
    return {"torchvision": templates}


def of_two_stages(backbone, neck, rpn, heads):
    """Names of Faster R-CNN and Mask R-CNN by project; none if the backbone has no such names.

    Args:
        backbone: A model of kdl.
        neck: Name of the pyramid's layer.
        rpn: Name of the `RPN`.
        heads: The `ROIHeads`.
    """
    templates = of_backbone(backbone, neck)
    if templates is None:
        return {}
    templates |= {
        f"{rpn}/conv{{i}}": "rpn.head.conv.{i}.0",
        f"{rpn}/objectness": "rpn.head.cls_logits",
        f"{rpn}/box_offsets": "rpn.head.bbox_pred",
    }
    box, theirs = f"{heads.name}/{heads.box_head.name}", "roi_heads.box_head"
    convolutions = heads.box_head.depth
    templates[f"{box}/conv{{i}}"] = f"{theirs}.{{i}}.0"
    templates[f"{box}/norm{{i}}"] = f"{theirs}.{{i}}.1"
    for number in range(len(heads.box_head.units)):
        name = f"{convolutions + 1 + 2 * number}" if convolutions else f"fc{6 + number}"
        templates[f"{box}/fc{number}"] = f"{theirs}.{name}"
    templates[f"{box}/class_logits"] = "roi_heads.box_predictor.cls_score"
    templates[f"{box}/box_offsets"] = "roi_heads.box_predictor.bbox_pred"
    if heads.mask_head is not None:
        mask = f"{heads.name}/{heads.mask_head.name}"
        templates |= {
            f"{mask}/conv{{i}}": "roi_heads.mask_head.{i}.0",
            f"{mask}/norm{{i}}": "roi_heads.mask_head.{i}.1",
            f"{mask}/upsampling": "roi_heads.mask_predictor.conv5_mask",
            f"{mask}/logits": "roi_heads.mask_predictor.mask_fcn_logits",
        }
    return {"torchvision": templates}
