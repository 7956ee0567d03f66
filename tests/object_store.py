"""A real S3 server on loopback, which fails when it is told to."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",  # else credentials are asked for at 169.254.169.254
}
BUCKET = "bucket"


class S3Server:
    """The server while it runs."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )
        from werkzeug.serving import make_server

        class Quiet(MotoRequestHandler):
            def log_request(self, *args: Any) -> None:
                pass

        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        self.fail_next = 0
        """So many requests are answered with 500."""
        self.fetched: list[str] = []
        """Paths that GET asked for, in their order."""
        self.cut_next = 0
        """So many objects come without their second half."""

    def serve(self) -> None:
        self._server.serve_forever()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def address(self, path: str, bucket: str = BUCKET) -> str:
        """Return the address of a storage on the server."""
        host = f"127.0.0.1:{self._server.server_port}"
        return f"s3://{bucket}/{path}?scheme=http&region=us-east-1&endpoint_override={host}"

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        if self.fail_next > 0:
            self.fail_next -= 1
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        if environ["REQUEST_METHOD"] == "GET":
            self.fetched.append(environ["PATH_INFO"])
        body = self._app(environ, start_response)
        if self.cut_next > 0 and environ["REQUEST_METHOD"] == "GET" and "list" not in environ["QUERY_STRING"]:
            self.cut_next -= 1
            whole = b"".join(body)
            return [whole[: len(whole) // 2]]
        return body


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a server with an empty bucket; its credentials are put into the environment."""
    os.environ.update(ENVIRONMENT)
    server = S3Server()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    from pyarrow.fs import FileSystem

    fs, _ = FileSystem.from_uri(server.address("x") + "&allow_bucket_creation=true")
    fs.create_dir(BUCKET)
    try:
        yield server
    finally:
        server.stop()
        thread.join()
