"""The mathematics of denoising-time realignment, on torch alone. See the modules; each cites its equations."""

from .economy import ControlVariate, DifferenceReuse, Merged, even_span, velocity_scale
from .evaluation import Called, Evaluator, Exact, Models, Prediction, combine, on_elements, separate
from .gaussian import Gaussian, ImproperMixtureError, geometric_mixture, max_lambda, realignment_weights
from .listed import listed_values
from .posterior import NoiseLevel, kl_increment, noise_prediction, posterior_variance, reverse_posterior
from .sampling import Sample, batch_mean, check_run, gaussian_noise, kl_increments, per_element, realigned_sample
from .schedule import LambdaSchedule
from .sweep import MOST_CELLS, Cell, Sweep, even_values, lambdas_for_betas
from .trace import Trace, TraceStep

__all__ = [
    "MOST_CELLS",
    "Called",
    "Cell",
    "ControlVariate",
    "DifferenceReuse",
    "Evaluator",
    "Exact",
    "Gaussian",
    "ImproperMixtureError",
    "LambdaSchedule",
    "Merged",
    "Models",
    "NoiseLevel",
    "Prediction",
    "Sample",
    "Sweep",
    "Trace",
    "TraceStep",
    "batch_mean",
    "check_run",
    "combine",
    "even_span",
    "even_values",
    "gaussian_noise",
    "geometric_mixture",
    "kl_increment",
    "kl_increments",
    "lambdas_for_betas",
    "listed_values",
    "max_lambda",
    "noise_prediction",
    "on_elements",
    "per_element",
    "posterior_variance",
    "realigned_sample",
    "realignment_weights",
    "reverse_posterior",
    "separate",
    "velocity_scale",
]
