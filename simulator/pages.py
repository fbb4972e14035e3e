"""Pages of the simulator's reports: one file each, no network, no scripts."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def page(template: str, **known: object) -> str:
    """The template with what it is told. All text is escaped but charts, whose text is escaped where they are made; raises UndefinedError for
    a name that it is not told.
    """
    environment = Environment(
        loader=PackageLoader("simulator"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**known)
