"""A `DeviceReport` as a page: no script, no image, nothing from elsewhere."""

from html import escape

# Verdict → (color of the edge, color of the ground, sign: color is not all that tells).
_LOOKS = {
    "runs": ("#2e7d32", "#f1f8f2", "✓"),
    "may fall back": ("#b26a00", "#fff8ec", "~"),
    "unknown": ("#5e35b1", "#f6f2fc", "?"),
    "refused": ("#c62828", "#fdf1f1", "✗"),
}

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c1c1c; background: #fff; margin: 0 auto;
  padding: 1.5rem; max-width: 60rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.4rem 0 .5rem; }
.legend { display: flex; flex-wrap: wrap; gap: .5rem; margin: 1rem 0; padding: 0; }
.legend li { list-style: none; padding: .15rem .6rem; border-left: .4rem solid; }
.bar { display: flex; height: .9rem; background: #e3e3e3; margin: .3rem 0 1rem; }
.graph { padding: 0; margin: 0; }
.graph > li { list-style: none; padding: .35rem .8rem; border-left: .45rem solid; }
.graph > li + li { margin-top: .35rem; }
.graph > li:target { outline: 2px solid #1c1c1c; }
.kind { font-weight: 600; }
.shapes, .name, .reads, .macs { color: #4a4a4a; font-size: .87rem; }
.shapes { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
.name { overflow-wrap: anywhere; }
.sign { display: inline-block; width: 1.1rem; font-weight: 700; }
p { margin: .2rem 0; }
""" + "\n".join(
    f".{name.replace(' ', '-')} {{ border-color: {edge} !important; background: {ground}; }}\n"
    f".{name.replace(' ', '-')} .sign, .{name.replace(' ', '-')} .word {{ color: {edge}; }}\n"
    f".bar .{name.replace(' ', '-')} {{ background: {edge}; }}"
    for name, (edge, ground, _) in _LOOKS.items()
)


def page(report):
    """The page as HTML."""
    title = f"{report.path} on {report.device}: {report.verdict}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        _legend(report),
        _share(report),
        *(f"<p>{escape(note)}</p>" for note in report.notes),
        _run(report),
        _causes(report),
        _cards("In doubt", [o for o in report.operations if o.verdict != "runs"]),
        _cards("Runs", [o for o in report.operations if o.verdict == "runs"]),
        "</body></html>",
    ]
    return "\n".join(filter(None, parts))


def _legend(report):
    items = [
        f'<li class="{_class(verdict)}">{_sign(verdict)}<span class="word">{verdict}</span>: '
        f"{count}</li>"
        for verdict, count in report.counts.items()
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _share(report):
    if not report.macs:
        return ""
    text = (
        f"Of {report.macs:,} multiply-adds {report.macs_share:.1%} run there for certain, "
        f"{report.macs_share_at_best:.1%} at best."
    )
    strips = [
        f'<span class="{_class(verdict)}" style="width:{100 * share:.2f}%"></span>'
        for verdict, share in _shares(report).items()
        if share
    ]
    return f'<p>{text}</p><div class="bar">{"".join(strips)}</div>'


def _shares(report):
    shares = dict.fromkeys(_LOOKS, 0.0)
    for operation in report.operations:
        shares[operation.verdict] += operation.macs / report.macs
    return shares


def _run(report):
    if report.run is None:
        return ""
    body = "<br>".join(map(escape, [*str(report.run).splitlines(), report.agreement]))
    return f'<p class="{_class(report.run.verdict)}">{body}</p>'


def _causes(report):
    """A line for each kind of operation in doubt, the worst first."""
    if not report.doubts:
        return ""
    lines = "".join(map(_cause, report.doubts))
    return f'<h2>Causes</h2><ul class="graph causes">{lines}</ul>'


def _cause(group):
    first, *others = group
    more = f' <span class="reads">and {len(others)} more</span>' if others else ""
    parts = [
        f'<li class="{_class(first.verdict)}"><p>{_sign(first.verdict)}'
        f'<span class="kind">{escape(first.operation)}</span> '
        f'<a href="#op{first.index}">#{first.index}</a>{more}</p>',
        f"<p>{escape(first.cause)}</p>",
    ]
    if first.rewrite:
        parts.append(f"<p>Rewrite: {escape(first.rewrite)}</p>")
    return "".join([*parts, "</li>"])


def _cards(title, operations):
    if not operations:
        return ""
    cards = "\n".join(map(_operation, operations))
    return f'<h2>{title}: {len(operations)}</h2>\n<ol class="graph">\n{cards}\n</ol>'


def _operation(operation):
    shapes = f"{', '.join(operation.inputs)} → {', '.join(operation.outputs)}"
    parts = [
        f'<li id="op{operation.index}" class="{_class(operation.verdict)}">',
        f"<p>{_sign(operation.verdict)}<span>#{operation.index}</span> "
        f'<span class="kind">{escape(operation.operation)}</span> '
        f'<span class="word">{operation.verdict}</span>{_macs(operation)}</p>',
        f'<p class="name">{escape(operation.name)}{_reads(operation)}</p>',
        f'<p class="shapes">{escape(shapes)}</p>',
    ]
    if operation.cause:
        parts.append(f"<p>{escape(operation.cause)}</p>")
    if operation.rewrite:
        parts.append(f"<p>Rewrite: {escape(operation.rewrite)}</p>")
    if operation.source:
        parts.append(f'<p class="reads">Source: {escape(operation.source)}</p>')
    return "".join([*parts, "</li>"])


def _macs(operation):
    return f' <span class="macs">{operation.macs:,} multiply-adds</span>' if operation.macs else ""


def _reads(operation):
    if not operation.reads:
        return ""
    links = ", ".join(f'<a href="#op{number}">#{number}</a>' for number in operation.reads)
    return f' <span class="reads">reads {links}</span>'


def _sign(verdict):
    return f'<span class="sign">{_LOOKS[verdict][2]}</span>'


def _class(verdict):
    return verdict.replace(" ", "-")
