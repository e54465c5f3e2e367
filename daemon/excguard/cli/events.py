"""`excguard events`: the events of the JSON log, and their schema."""

import click
import msgspec

from excguard.pipeline import events


@click.command("events")
@click.argument("name", required=False)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a line of the log.")
def command(name: str | None, *, schema: bool) -> None:
    """List the events of the JSON log, or the fields of the event NAME.

    \b
    Examples:
      excguard events
      excguard events target_exited
      excguard events --schema > excguard-log.schema.json

    \b
    Exit status:
      0    the list, the fields or the schema were printed
      2    there is no such event
    """  # noqa: D301 - click wants the real backspace
    if schema:
        click.echo(msgspec.json.format(msgspec.json.encode(events.schema()), indent=2).decode())
        return
    if name is None:
        width = max(map(len, events.EVENTS))
        for event, kind in events.EVENTS.items():
            click.echo(f"{event:{width}}  {events.when(kind).splitlines()[0]}")
        return
    if name not in events.EVENTS:
        raise click.UsageError(f"no event {name!r}; `excguard events` lists them")
    kind = events.EVENTS[name]
    click.echo(events.when(kind))
    rows = events.fields(kind)
    names = max((len(row.name) for row in rows), default=0)
    types = max((len(row.type) for row in rows), default=0)
    for row in rows:
        click.echo(f"  {row.name:{names}}  {row.type:{types}}  {row.text}")
