"""The lenient peer: django-oauth-toolkit, with an application and switches for our tests.

What would surprise: there is no login and no consent page, whoever asks is alice and agrees; and an
old access token is dead the moment a refresh mints a new one. README.md beside this file lists the
switches.
"""

import argparse
import json
import os
import ssl
import sys
import threading
import time
from pathlib import Path

from django.conf import settings

# A secret that shows who encodes what, and how.
SECRET = "s3cr3t:+/%~&="


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0, help="0 is any free one")
    parser.add_argument("--database", required=True, help="file of the SQLite database")
    parser.add_argument("--events", help="file to which events are appended, one JSON a line")
    parser.add_argument("--rotate", choices=["on", "off"], default="on")
    parser.add_argument("--reuse-protection", choices=["on", "off"], default="on")
    parser.add_argument("--grace", type=int, default=0, help="seconds in which reuse is forgiven")
    parser.add_argument("--access-ttl", type=int, default=60)
    parser.add_argument("--refresh-ttl", type=int, default=3600)
    parser.add_argument("--redirect-uri", action="append", default=[])
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--tied", action="store_true", help="end when standard input does")
    return parser.parse_args()


ARGS = arguments()

settings.configure(
    SECRET_KEY="only for tests" * 4,
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    LOGGING_CONFIG=None,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "oauth2_provider",
    ],
    MIDDLEWARE=["__main__.note_answers", "__main__.as_alice"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": ARGS.database,
            # Deferred transactions answer some of several refreshes at once with an HTML page.
            "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        }
    },
    OAUTH2_PROVIDER={
        "SCOPES": {"campaigns:read": "Read campaigns", "campaigns:write": "Write campaigns"},
        "ACCESS_TOKEN_EXPIRE_SECONDS": ARGS.access_ttl,
        "REFRESH_TOKEN_EXPIRE_SECONDS": ARGS.refresh_ttl,
        "ROTATE_REFRESH_TOKEN": ARGS.rotate == "on",
        "REFRESH_TOKEN_REUSE_PROTECTION": ARGS.reuse_protection == "on",
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": ARGS.grace,
        "DEVICE_FLOW_INTERVAL": 1,
    },
)

import django  # noqa: E402

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from oauth2_provider import models  # noqa: E402
from oauth2_provider.settings import oauth2_settings  # noqa: E402


def note(event, **more):
    """Appends an event. No token, code or secret is ever among them."""
    if ARGS.events:
        line = json.dumps({"at": int(time.time() * 1000), "event": event, **more})
        with Path(ARGS.events).open("a", encoding="utf-8") as events:
            events.write(line + "\n")


def note_answers(get_response):
    def middleware(request):
        response = get_response(request)
        error = None
        if response.get("Content-Type", "").startswith("application/json"):
            answer = json.loads(response.content or b"null")
            error = answer.get("error") if isinstance(answer, dict) else None
        note(
            "answer",
            method=request.method,
            path=request.path,
            status=response.status_code,
            grant_type=request.POST.get("grant_type"),
            error=error,
        )
        return response

    return middleware


def as_alice(get_response):
    def middleware(request):
        request.user = User.objects.get(username="alice")
        return get_response(request)

    return middleware


def whoami(request):
    """The API behind the tokens."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    found = models.AccessToken.objects.filter(token=token).first()
    if scheme.lower() != "bearer" or found is None or not found.is_valid():
        answer = JsonResponse({"error": "invalid_token"}, status=401)
        answer["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        return answer
    who = found.user.username if found.user else found.application.client_id
    return JsonResponse({"id": who, "name": f"Account of {who}", "scope": found.scope})


def end_grants(_request):
    """The owner ends what was granted, behind the client's back."""
    ended = 0
    for token in models.RefreshToken.objects.filter(revoked__isnull=True):
        token.revoke()
        ended += 1
    models.AccessToken.objects.all().delete()
    note("grants.ended", ended=ended)
    return JsonResponse({"ended": ended})


urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("api/whoami", whoami),
    path("control/end-grants", end_grants),
]


def applications():
    user, _ = User.objects.get_or_create(username="alice")
    for client_id, kind, grant in [
        ("conf", "confidential", "authorization-code"),
        ("pub", "public", "authorization-code"),
        ("tv", "public", "urn:ietf:params:oauth:grant-type:device_code"),
        ("machine", "confidential", "client-credentials"),
        ("page", "confidential", "implicit"),
        ("page-2", "confidential", "implicit"),
    ]:
        models.Application.objects.get_or_create(
            client_id=client_id,
            defaults={
                "client_secret": SECRET,
                "client_type": kind,
                "authorization_grant_type": grant,
                "redirect_uris": " ".join(ARGS.redirect_uri or ["http://127.0.0.1/cb"]),
                "skip_authorization": True,
                "user": user,
            },
        )


class Quiet(WSGIRequestHandler):
    """Django's handler, without its line for each request."""

    def log_message(self, *_):
        pass


def end_with_standard_input():
    sys.stdin.buffer.read()
    os._exit(0)


def main():
    if ARGS.tied:
        threading.Thread(target=end_with_standard_input, daemon=True).start()
    call_command("migrate", verbosity=0)
    applications()
    server = ThreadedWSGIServer(("127.0.0.1", ARGS.port), Quiet)
    server.daemon_threads = True
    # The toolkit tells of no address of its own: it is set once the port is known.
    place = f"{'https' if ARGS.cert else 'http'}://127.0.0.1:{server.server_port}/o/device/"
    settings.OAUTH2_PROVIDER["OAUTH_DEVICE_VERIFICATION_URI"] = place
    oauth2_settings.reload()
    server.set_app(get_wsgi_application())
    if ARGS.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ARGS.cert, ARGS.key)
        # So that the addresses in its metadata begin with https.
        server.base_environ["HTTPS"] = "on"
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(f"ready {server.server_port}")
    sys.stdout.flush()
    server.serve_forever()


main()
