"""LambdaSchedule: λ over the steps, by presets and scalars or by the host's curve editor."""

from __future__ import annotations

from typing import Annotated, Any

from comfy_api.input import CurveInput
from comfy_api.latest import io, ui
from pydantic import BaseModel, Field, ValidationError

from ..realign_core import LAMBDAS
from ..realign_core import LambdaSchedule as Schedule
from .checked import Node
from .inputs import Widget, choice, lambda_number, number
from .models.anchor import Anchors
from .pictures.plot import schedule_plot
from .types import ALIASES, CATEGORY, AnchorType, LambdaType

CURVE_SAMPLES = 129  # a cubic curve is kept as this many points, joined by lines: closer than the eye can tell
Position = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1)]
Value = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=LAMBDAS[0], le=LAMBDAS[1])]
DOMAINS = {"steps": "progress", "noise level": "sigma"}
SHAPES = ["constant", "linear", "cosine", "ease in", "ease out", "ease in-out", "step", "interval", "curve"]


class LambdaSchedule(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LambdaSchedule",
            display_name="λ Schedule",
            category=CATEGORY,
            description=(
                "Lets the aligned look come and go while the picture is made: early steps settle its layout, late ones "
                "colour and detail. λ over the steps, by a shape or a curve, which the node draws live."
            ),
            search_aliases=[*ALIASES, "schedule", "curve"],
            inputs=[
                choice("shape", SHAPES, "linear")(
                    "constant: λ is start. linear, cosine, ease: from start to end between begin and stop. "
                    "step: start before begin, end from there. interval: start between begin and stop, 0 outside "
                    "(one model call there). curve: the curve below."
                ),
                lambda_number("start", 0.0)("λ at begin (-10 to 10)."),
                lambda_number("end", 1.0)("λ at stop (-10 to 10)."),
                _point("begin", 0.0)("Where the change begins (0–1 of the run)."),
                _point("stop", 1.0)("Where the change stops (0–1 of the run)."),
                io.Curve.Input(
                    "curve", optional=True, tooltip="For “curve”: λ over the run, 0–1, then scaled. Drawn in Nodes 2.0."
                ),
                lambda_number("scale", 1.0)(
                    "λ is multiplied by this (-10 to 10): a curve up to 1 with scale 1.5 ends at 1.5."
                ),
                lambda_number("offset", 0.0)("This is added to λ (-10 to 10), after scale."),
                choice("over", DOMAINS, advanced=True)(
                    "steps: the run is counted in steps. noise level: in log σ, so that λ belongs to a noise level "
                    "whatever the steps and the scheduler."
                ),
                _sigma("sigma_max")("For “noise level”: σ at 0 of the run. 0: the run's first. (0–100000)"),
                _sigma("sigma_min")("For “noise level”: σ at 1 of the run. 0: the run's last above 0. (0–100000)"),
                number("steps", 25, 1, 10000)("Steps that the plot marks (1–10000). Only for it."),
                AnchorType.Input("anchor", optional=True, tooltip="With an anchor of known β, β/λ is plotted too."),
            ],
            outputs=[LambdaType.Output(display_name="λ schedule", tooltip="For the sampler, guider, MODEL or sweep.")],
        )

    @classmethod
    def execute(
        cls,
        shape: str,
        start: float,
        end: float,
        begin: float,
        stop: float,
        scale: float,
        offset: float,
        over: str,
        sigma_max: float,
        sigma_min: float,
        steps: int,
        curve: Any = None,
        anchor: Anchors | None = None,
    ) -> io.NodeOutput:
        schedule = Schedule(
            shape=shape,
            start=start,
            end=end,
            begin=begin,
            stop=stop,
            points=curve_points(curve) if shape == "curve" else (),
            scale=scale,
            offset=offset,
            domain=DOMAINS[over],
            sigma_max=sigma_max or None,
            sigma_min=sigma_min or None,
        )
        lambdas = [schedule.at(i / max(steps - 1, 1)) for i in range(steps)]
        axis = f"step 1 … {steps}" if over == "steps" else "log σ, from the first to the last noise level"
        plot = schedule_plot(lambdas, anchor[0].beta if anchor else None, axis)
        return io.NodeOutput(schedule, ui=ui.PreviewImage(plot, cls=cls))


class DrawnCurve(BaseModel):
    """The host's CURVE, as its editor and workflow files have it."""

    points: Annotated[list[tuple[Position, Value]], Field(min_length=1)]  # (position, λ)
    interpolation: str = "monotone_cubic"  # the host knows which there are, and warns of others


def curve_points(curve: Any) -> tuple[tuple[float, float], ...]:
    """The host's CURVE, in its own interpolation, as points joined by lines. Raises ValueError where it is none."""
    if curve is None:
        raise ValueError("Shape “curve” needs a curve: draw one on the node, or choose another shape.")
    drawn = curve.points if isinstance(curve, CurveInput) else curve
    try:
        checked = DrawnCurve.model_validate(drawn if isinstance(drawn, dict) else {"points": drawn})
    except ValidationError as error:
        raise ValueError(_no_curve(error)) from None
    interpolated = curve if isinstance(curve, CurveInput) else CurveInput.from_raw(checked.model_dump())
    xs = [i / (CURVE_SAMPLES - 1) for i in range(CURVE_SAMPLES)]
    return tuple((x, float(interpolated.interp(x))) for x in xs)


def _no_curve(error: ValidationError) -> str:
    wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name, *place = wrong["loc"]
    if name == "points" and not place and wrong["type"] == "too_short":
        return "The λ curve has no points: draw at least one."
    where = f"point {place[0] + 1}" if place else name
    return (
        f"The λ curve cannot be read ({where}): each of its points must be a position from 0 to 1 and a λ from -10 to "
        "10. Draw it anew, or choose another shape."
    )


def _point(name: str, default: float) -> Widget:
    return number(name, default, 0, 1, 0.01, round=0.001)


def _sigma(name: str) -> Widget:
    return number(name, 0.0, 0, 100000, 0.01, advanced=True)


NODES = [LambdaSchedule]
