"""Rows of `[files]`: files that phones send and fetch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import SecretStr

from gateway.config.types import (
    Count,
    Duration,
    Flag,
    HttpUrl,
    Name,
    Positive,
    PositiveDuration,
    PositiveSize,
    Rows,
    Secret,
    Size,
    Text,
    Texts,
    Widths,
    choice,
)
from gateway.config.units import DAY, MB, SECOND


class Files(Rows):
    """Files that phones send and fetch: `POST /files`, `/files/resumable`, `GET /files/{id}`."""

    directory: Name = "./files"
    """Where files are kept, and where running uploads are staged. Also with S3, and on one filesystem: a
    finished file is moved into place, never copied."""
    public_url: HttpUrl = ""
    """Start of the links that clients get, such as `https://api.example.com`. Empty: links begin with
    `/files/`, and the client puts the host before them."""
    max_upload_size: PositiveSize = 10 * MB
    """Largest file of one `POST /files`; `wx.uploadFile` itself stops at 10MB. The `client_max_body_size` of
    nginx must be larger by 1MB, or its own answer, which is no JSON, comes first."""
    max_resumable_size: PositiveSize = 200 * MB
    """Largest file sent in pieces. `wx.downloadFile` fetches no more than 200MB."""
    resumable_ttl: PositiveDuration = 1 * DAY
    """How long an upload in pieces may take from its first piece to its last."""
    allowed_types: Texts = (
        "image/jpeg",
        "image/png",
        "image/gif",
        "image/webp",
        "image/bmp",
        "image/heic",
        "image/avif",
        "video/*",
        "audio/*",
        "application/pdf",
        "application/zip",
        "application/vnd.openxmlformats-officedocument.*",
        "text/plain",
    )
    """Types that are accepted, as found in the content itself: names and what a client claims do not count.
    `*` stands for anything. HTML, SVG and scripts are only ever sent back as attachments."""
    ttl: Duration = 0.0
    """How long a file is kept if the client does not say; 0 keeps it until it is deleted. A client may ask
    for less, never for more."""
    visibility: Annotated[
        Literal["owner", "signed_in", "channel", "link"], *choice("owner", "signed_in", "channel", "link")
    ] = "owner"
    """Who may read a file if the client does not say: its owner, every signed-in user, who may subscribe to
    the channel it was sent to, or only who has a signed link."""
    quota_bytes_per_day: Size = 1024 * MB
    """What one user may send in a day (UTC), 0 = unlimited. Counted by each HTTP process, from its start."""
    quota_files_per_day: Count = 1000
    """How many files that may be, 0 = unlimited."""
    max_uploads_per_user: Positive = 10
    """Uploads of one user at a time. A phone has at most 10 requests in flight."""
    strip_exif: Flag = True
    """Take place, device and comments out of JPEGs; how the picture is turned, and its colours, stay."""
    thumbnail_widths: Widths = (200, 400, 800)
    """Widths in pixels that `GET /files/{id}?w=` makes smaller pictures of. A closed list, because each is
    kept beside the file."""
    link_secret: Secret = SecretStr("")
    """Signs links. Empty: derived from `session.encryption_key`, and where that is empty too, random per
    process: links end with it. Changing it ends all links."""
    link_ttl: PositiveDuration = 3600 * SECOND
    """How long a signed link lives if the client does not say; it may ask for up to 30d."""
    accel_location: Text = ""
    """The nginx location, marked `internal`, whose `alias` is the folder `files` in `directory`: nginx then
    sends the bytes itself, by X-Accel-Redirect. Empty: the gateway does."""
    sweep_interval: PositiveDuration = 600 * SECOND
    """How often expired files, and what a crash left of an upload, are removed."""
    s3_url: HttpUrl = ""
    """Keep files in an S3-compatible store instead: its address with the bucket as path, such as
    `https://cos.ap-guangzhou.myqcloud.com/name-1250000000` (Tencent COS) or `http://10.0.0.5:9000/files`
    (MinIO). Needs `pip install "wx-gateway[s3]"`."""
    s3_region: Text = "us-east-1"
    """Its region, `ap-guangzhou` for example. MinIO takes the default."""
    s3_access_key: Secret = SecretStr("")
    """Empty: the credentials that boto3 finds by itself (environment, instance role)."""
    s3_secret_key: Secret = SecretStr("")
    """The secret of that key."""
    s3_prefix: Text = ""
    """Put before every key, `uploads/` for example, to share the bucket."""
    s3_addressing: Annotated[Literal["virtual", "path"], *choice("virtual", "path")] = "path"
    """`virtual`: the bucket is part of the host name, as Tencent COS wants it. `path`: as MinIO does."""
    s3_redirect: Flag = True
    """Answer downloads with a redirect to a signed address of the store, which must be among the download
    domains of your mini-program. Off: the bytes pass through the gateway."""
