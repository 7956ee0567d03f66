import pytest

from train_fn.address import held_secret, redact


@pytest.mark.parametrize(
    ("address", "held"),
    [
        ("https://me:s3cret@host/x.jsonl", "a password"),
        ("https://:s3cret@host", "a password"),
        ("simplecache::ftp://me:s3cret@host/x.jsonl", "a password"),
        ("zip://x.jsonl::https://host/x.zip?token=s3cret", "a 'token'"),
        ("https://host/x.jsonl?X-Amz-Date=1&X-Amz-Signature=s3cret", "a 'X-Amz-Signature'"),
        ("https://host/x.jsonl?sv=2024&sig=s3cret", "a 'sig'"),
        ("https://host/x.jsonl?Expires=1&GoogleAccessId=me&Signature=s3cret", "a 'Signature'"),
    ],
)
def test_a_secret_in_an_address_is_named(address: str, held: str) -> None:
    assert held_secret(address) == held


@pytest.mark.parametrize(
    "address",
    [
        "mine.jsonl",
        "/data/a:b@c/what?token=no.jsonl",
        "file:///data/a:b@c.jsonl",
        "hub:owner/name",
        "bundled:chitchat",
        "s3://bucket/path?region=eu-west-1",
        "ftp://me@host/x.jsonl",
        "https://host:8443/x@y.jsonl?download=true&design=2",
        "https://[::1]:8443/x.jsonl",
        "//[no address",
    ],
)
def test_other_addresses_and_files_hold_none(address: str) -> None:
    assert held_secret(address) == ""
    assert redact(address) == address
