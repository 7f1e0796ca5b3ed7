"""RabbitMQ for Fast Channels: groups on a direct exchange, worker queues, streams."""

from fast_channels_rabbitmq.backend import RabbitMQBackend
from fast_channels_rabbitmq.layer import RabbitMQChannelLayer, rabbitmq_layer

__all__ = ["RabbitMQBackend", "RabbitMQChannelLayer", "rabbitmq_layer"]
