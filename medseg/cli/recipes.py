"""``--recipes`` and ``--schema``: what a plan's values may be, told before there is a dataset."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def _list_recipes(asked: bool) -> None:
    if not asked:
        return
    from medseg.plans.recipes import shipped_recipes

    recipes = shipped_recipes().values()
    width = max(len(recipe.name) for recipe in recipes)
    for recipe in recipes:
        typer.echo(f"{recipe.name:{width}}  {recipe.summary}")
    raise typer.Exit


def _print_schema(asked: bool) -> None:
    if not asked:
        return
    from medseg.plans.schema import recipe_schema

    typer.echo(json.dumps(recipe_schema(), indent=1))
    raise typer.Exit


Recipes = Annotated[
    bool,
    typer.Option(
        "--recipes", help="List the recipes that `-c` knows by name.", is_eager=True, callback=_list_recipes
    ),
]
Schema = Annotated[
    bool,
    typer.Option(
        "--schema",
        help="Print the JSON schema of a plan, by which editors complete and check one.",
        is_eager=True,
        callback=_print_schema,
    ),
]
