"""The endpoint that one usually writes: `def`, boto3, a stream of chunks. It is given the key, which favours it."""

import os

import boto3
from botocore.config import Config
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

CHUNK = 64 * 1024
THREADS = 40
"""Threads in which FastAPI runs `def` endpoints. As many connections are kept, which usual code forgets."""


def application() -> FastAPI:
    """The application over the bucket that the environment names."""
    client = boto3.client(
        "s3",
        endpoint_url=os.environ["USUAL_ENDPOINT_URL"],
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=THREADS),
    )
    bucket = os.environ["USUAL_BUCKET"]
    app = FastAPI()

    @app.get("/content/{key:path}")
    def content(key: str) -> StreamingResponse:
        answer = client.get_object(Bucket=bucket, Key=key)
        return StreamingResponse(
            answer["Body"].iter_chunks(CHUNK),
            media_type=answer["ContentType"],
            headers={"Content-Length": str(answer["ContentLength"])},
        )

    return app
