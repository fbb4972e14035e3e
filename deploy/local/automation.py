"""Switch on what runs by itself, as a person does it on the page *Automation*."""

import json
from collections.abc import Iterable

from deploy.local.demo_steps import StepFailed
from deploy.local.probes import NotReady, graphql
from deploy.local.services import CODE_LOCATION

REPOSITORY = "__repository__"
ANSWER_WITHIN_S = 60.0


def switch_on(url: str, sensors: Iterable[str], schedules: Iterable[str]) -> None:
    """url: of the webserver. Raises StepFailed for one that is not there."""
    for name in sensors:
        _ask(url, "startSensor(sensorSelector:", "sensorName", name, "... on Sensor{sensorState{status}}")
    for name in schedules:
        _ask(
            url,
            "startSchedule(scheduleSelector:",
            "scheduleName",
            name,
            "... on ScheduleStateResult{scheduleState{status}}",
        )


def _ask(url: str, call: str, key: str, name: str, wanted: str) -> None:
    selector = f'{{repositoryLocationName:"{CODE_LOCATION}",repositoryName:"{REPOSITORY}",{key}:"{name}"}}'
    errors = "__typename ... on PythonError{message}"
    try:
        found = graphql(url, f"mutation{{it:{call}{selector}){{{wanted} {errors}}}}}", ANSWER_WITHIN_S)["it"]
    except (NotReady, KeyError, TypeError) as error:
        raise StepFailed(f"{name} could not be switched on: {error}") from error
    state = found.get("sensorState") or found.get("scheduleState")
    if not state or state["status"] != "RUNNING":
        raise StepFailed(f"{name} could not be switched on: {json.dumps(found)}")
