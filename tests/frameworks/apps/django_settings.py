"""The smallest Django project with users and sessions, in an SQLite file of its own folder."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

if "DJANGO_TEST_FOLDER" not in os.environ:
    FOLDER = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, FOLDER)
else:
    FOLDER = Path(os.environ["DJANGO_TEST_FOLDER"])
SECRET_KEY = "for tests only, and long enough to be taken for a key"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "apps.django_urls"
INSTALLED_APPS = [
    "channels",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]
MIDDLEWARE = []
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "fast_channels.layers.InMemoryChannelLayer",
        "CONFIG": {"capacity": 7},
        "TEST_CONFIG": {"capacity": 3},
    },
    "by-module": {"BACKEND": "fast_channels.layers.in_memory.InMemoryChannelLayer"},
}
if url := os.environ.get("DJANGO_TEST_REDIS_URL"):
    CHANNEL_LAYERS["shared"] = {
        "BACKEND": "fast_channels_redis.RedisChannelLayer",
        "CONFIG": {"hosts": [url]},
    }
ASGI_APPLICATION = "apps.django_channels_app.application"
