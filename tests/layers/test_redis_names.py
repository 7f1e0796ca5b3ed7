"""``fast_channels.layers.redis`` hands on the Redis package's names, or says what to install."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(30)

GONE = "import sys; sys.modules['fast_channels_redis'] = None; "


def run(program):
    """Return how a process of its own ended, and the last line of what it said."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return done.returncode, done.stderr.strip().rpartition("\n")[2]


def test_the_names_are_those_of_the_package():
    import fast_channels.layers.redis as old
    import fast_channels_redis as new

    for name in ("RedisChannelLayer", "RedisPubSubChannelLayer"):
        assert getattr(old, name) is getattr(new, name)
    with pytest.raises(AttributeError, match="has no attribute 'RedisChannelLayers'"):
        _ = old.RedisChannelLayers


def test_the_submodules_hand_on_what_still_means_something():
    import fast_channels_redis as new
    from fast_channels.exceptions import ChannelFull
    from fast_channels.layers.redis import core, pubsub, type_defs, utils

    assert core.RedisChannelLayer is new.RedisChannelLayer
    assert core.ChannelFull is ChannelFull
    assert pubsub.RedisPubSubChannelLayer is new.RedisPubSubChannelLayer
    assert type_defs.ChannelRawRedisHost is new.ChannelRawRedisHost
    assert utils.consistent_hash is new.consistent_hash
    with pytest.raises(AttributeError, match="has no attribute 'RedisPool'"):
        _ = utils.RedisPool


def test_a_name_that_is_no_more_says_what_there_is_instead():
    assert run("from fast_channels.layers.redis.pubsub import RedisPubSubLoopLayer") == (
        1,
        "ImportError: fast_channels.layers.redis.pubsub.RedisPubSubLoopLayer went with the old "
        "Redis layer; a RedisPubSubChannelLayer works from every event loop, and on every host, "
        "by itself",
    )


def test_importing_the_modules_imports_no_driver():
    modules = ("", ".core", ".pubsub", ".serializers", ".type_defs", ".utils")
    program = "import sys" + "".join(f", fast_channels.layers.redis{each}" for each in modules)
    program += "; "
    assert run(program + "assert not {'fast_channels_redis', 'redis'} & {*sys.modules}") == (0, "")


def test_without_the_package_the_error_says_what_to_install():
    assert run(GONE + "from fast_channels.layers.redis import RedisChannelLayer") == (
        1,
        "ImportError: the Redis layers are a package of their own; "
        "run: pip install 'fast-channels[redis]'",
    )


def test_what_is_wrong_inside_the_package_is_told_as_it_is():
    program = "import sys; sys.modules['redis'] = None; "
    code, said = run(program + "from fast_channels.layers.redis import RedisChannelLayer")
    assert code == 1
    assert said.startswith("ModuleNotFoundError: ")
    assert "'redis'" in said
