"""Members of different kinds, each with a name."""

from kdl.ensembles._ensemble import check_fit_arguments


def check_named(members):
    """Raises ValueError unless they are `(name, build)` or `(name, build, fit_arguments)`."""
    if not isinstance(members, list | tuple) or not members:
        raise ValueError(f"members must be a list of (name, build); received {members!r}.")
    for member in members:
        pair = isinstance(member, tuple | list) and len(member) in (2, 3)
        if not pair or not isinstance(member[0], str):
            raise ValueError(
                f"members must hold (name, build) or (name, build, fit_arguments); one is "
                f"{member!r}."
            )
        if len(member) == 3:
            check_fit_arguments(member[2])
    names = [member[0] for member in members]
    if len(set(names)) < len(names):
        raise ValueError(f"The members' names must differ; received {', '.join(names)}.")


def named_jobs(ensemble, data):
    """A job for each member on all samples."""
    jobs = []
    for number, (name, build, *fit_arguments) in enumerate(ensemble.members):
        recipe = ensemble._recipe(build, *fit_arguments)
        jobs.append(ensemble._job(data, number, recipe, name=f"member {name!r}"))
    return jobs
