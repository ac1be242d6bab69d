"""Every hostile case, by where its hostility lies and what it is."""

from tests.hostile import name_cases, place_cases, recipe_cases, value_cases, weight_cases, yaml_cases
from tests.hostile.case import Cases, Hostile

GROUPS: dict[str, Cases] = {
    "yaml": yaml_cases.CASES,
    "name": name_cases.CASES,
    "value": value_cases.CASES,
    "recipe": recipe_cases.CASES,
    "place": place_cases.CASES,
    "weights": weight_cases.CASES,
}

CORPUS: dict[str, Hostile] = {
    f"{group}: {name}": case for group, cases in GROUPS.items() for name, case in cases.items()
}
