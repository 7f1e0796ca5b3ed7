"""The suite for layers: what applications may rely on, whatever broker is below."""

from fast_channels.testing.conformance.layer_bounds import BoundClauses
from fast_channels.testing.conformance.layer_cancelling import CancellingClauses
from fast_channels.testing.conformance.layer_channels import ChannelClauses
from fast_channels.testing.conformance.layer_groups import GroupClauses
from fast_channels.testing.conformance.layer_history import HistoryClauses
from fast_channels.testing.conformance.layer_hostile import HostileClauses
from fast_channels.testing.conformance.layer_life import LayerLifeClauses
from fast_channels.testing.conformance.layer_messages import MessageClauses
from fast_channels.testing.conformance.layer_order import LayerOrderClauses
from fast_channels.testing.conformance.layer_outages import LayerOutageClauses
from fast_channels.testing.conformance.layer_prefixes import PrefixClauses
from fast_channels.testing.conformance.layer_queues import QueueClauses
from fast_channels.testing.conformance.layer_threads import ThreadClauses


class LayerTests(
    ChannelClauses,
    MessageClauses,
    LayerOrderClauses,
    GroupClauses,
    BoundClauses,
    CancellingClauses,
    QueueClauses,
    HistoryClauses,
    PrefixClauses,
    HostileClauses,
    ThreadClauses,
    LayerLifeClauses,
    LayerOutageClauses,
):
    """Subclass it in your tests, write ``build_layer``, and pytest runs every clause."""
