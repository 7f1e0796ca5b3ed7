"""Traces and metrics for OpenTelemetry (``pip install 'fast-channels[otel]'``).

A send is a producer span. Its context travels with the message, by the propagators that are set
globally, and each consumer's handler is a span of the same trace. Names of attributes are those of
OpenTelemetry's semantic conventions for messaging.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

from opentelemetry import propagate
from opentelemetry.context import Context, attach, detach
from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation, get_meter
from opentelemetry.trace import Link, SpanKind, TracerProvider, get_current_span, get_tracer

from fast_channels import __version__
from fast_channels.layers import ChannelLayerRegistry, channel_layers, tracing
from fast_channels.layers.counters import BOUNDS

from .measurements import MEASURES, PUBLISHING, Measure, Measurements, Sample

SCOPE: Final = "fast_channels"
"""The name of the instrumentation, and the messaging system."""


class Traces:
    """Makes the spans of sends and of handlers, and records how long batches took."""

    def __init__(
        self,
        provider: TracerProvider | None = None,
        publishing: Histogram | None = None,
        layers: ChannelLayerRegistry = channel_layers,
    ) -> None:
        self._tracer = get_tracer(SCOPE, __version__, provider)
        self._publishing = publishing
        self._layers = layers
        self._labels: WeakKeyDictionary[object, dict[str, str]] = WeakKeyDictionary()

    def published(self, layer: object, seconds: float) -> None:
        """Record how long a batch took, if the layer is registered."""
        if self._publishing is None:
            return
        labels = self._labels.get(layer)
        if labels is None:
            aliases = self._layers.list_aliases()
            known = [alias for alias in aliases if self._layers.get(alias) is layer]
            if not known:
                return
            labels = self._labels[layer] = {"layer": known[0]}
        self._publishing.record(seconds, labels)

    @contextmanager
    def sending(
        self, destination: str, group: bool, size: int
    ) -> Generator[tracing.Context, None, None]:
        """Surround a send by a producer span; gives its context as headers."""
        operation = "group_send" if group else "send"
        with self._tracer.start_as_current_span(
            operation,
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": SCOPE,
                "messaging.operation.name": operation,
                "messaging.operation.type": "send",
                "messaging.destination.name": destination,
                "messaging.message.body.size": size,
            },
        ):
            carrier: tracing.Context = {}
            propagate.inject(carrier)
            yield carrier

    @contextmanager
    def handling(
        self, context: tracing.Context, message: Mapping[str, Any], consumer: object
    ) -> Generator[None, None, None]:
        """Surround a handler by a consumer span, whose parent is the producer's.

        It is linked to the span in which the connection is served, if there is one.
        """
        ambient = get_current_span().get_span_context()
        # From an empty context: what the connection has of its own is no part of the message's.
        token = attach(propagate.extract(context, Context()))
        try:
            with self._tracer.start_as_current_span(
                f"process {message['type']}",
                kind=SpanKind.CONSUMER,
                links=[Link(ambient)] if ambient.is_valid else None,
                attributes={
                    "messaging.system": SCOPE,
                    "messaging.operation.name": "process",
                    "messaging.operation.type": "process",
                    "messaging.destination.name": str(getattr(consumer, "channel_name", "")),
                    "messaging.destination.anonymous": True,
                    "fast_channels.message.type": message["type"],
                    "fast_channels.consumer": type(consumer).__name__,
                },
            ):
                yield
        finally:
            detach(token)


class Instrumentation:
    """What ``instrument`` has set up."""

    def __init__(self, measurements: Measurements) -> None:
        self._measurements: Measurements | None = measurements

    def uninstrument(self) -> None:
        """Messages of sessions that open from now on are not traced; metrics stay as they are."""
        if self._measurements is not None:
            tracing.deactivate()
            self._measurements.close()
            self._measurements = None


def instrument(
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    layers: ChannelLayerRegistry = channel_layers,
) -> Instrumentation:
    """Layers that open from now on are traced, and metrics of the registered ones are observed.

    Without providers, those that are set globally are used. ``RuntimeError`` if it was called
    already. Call it at start-up, in every process whose part of a trace you want to see.
    """
    meter = get_meter(SCOPE, __version__, meter_provider)
    publishing = meter.create_histogram(
        f"{SCOPE}.publish_duration",
        unit="s",
        description=PUBLISHING,
        explicit_bucket_boundaries_advisory=BOUNDS,
    )
    tracing.activate(Traces(tracer_provider, publishing, layers))
    measurements = Measurements(layers)
    latest = _Latest(measurements)
    for measure in MEASURES:
        counts = measure.kind == "counter"
        create = meter.create_observable_counter if counts else meter.create_observable_gauge
        create(f"{SCOPE}.{measure.name}", [latest.observer(measure)], description=measure.text)
    return Instrumentation(measurements)


class _Latest:
    """The samples of one collection, which asks for each measure by itself."""

    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements
        self._samples: list[Sample] = []
        self._asked: set[Measure] = set(MEASURES)

    def observer(self, measure: Measure) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """Return the callback of one instrument."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            if measure in self._asked:  # asked again: it is the next collection
                self._asked.clear()
                self._samples = list(self._measurements.samples())
            self._asked.add(measure)
            return [
                Observation(value, dict(zip(measure.labels, labels, strict=True)))
                for each, labels, value in self._samples
                if each == measure
            ]

        return observe
