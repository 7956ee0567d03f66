import pytest

from train_fn.address import bare, held_secret, redact, refused, without_secrets


@pytest.mark.parametrize(
    ("address", "held"),
    [
        ("https://me:s3cret@host/x.jsonl", "a password"),
        ("https://:s3cret@host", "a password"),
        ("simplecache::ftp://me:s3cret@host/x.jsonl", "a password"),
        ("zip://x.jsonl::https://host/x.zip?token=s3cret", "a 'token'"),
        ("https://host/x.jsonl?X-Amz-Date=1&X-Amz-Signature=s3cret", "a 'X-Amz-Signature'"),
        ("https://host/x.jsonl?sv=2024&sig=s3cret", "a 'sig'"),
        ("https://s3cret@host/x.jsonl", "a password"),
        ("s3://me:s3/cret@bucket/x.jsonl", "a password"),
        ("https://host/x.jsonl#access_token=s3cret", "a 'access_token'"),
        ("https://me:x?s3cret@host/x.jsonl", "a password"),
        ("https://host/x.jsonl?Expires=1&GoogleAccessId=me&Signature=s3cret", "a 'Signature'"),
    ],
)
def test_a_secret_in_an_address_is_named(address: str, held: str) -> None:
    assert held_secret(address) == held
    assert "s3cret" not in refused(address)
    assert "cret@" not in refused(address)


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
        "https://host:8443/x@y.jsonl?download=true&design=2&tokenizer=llama&keywords=a",
        "https://[::1]:8443/x.jsonl",
        "//[no address",
    ],
)
def test_other_addresses_and_files_hold_none(address: str) -> None:
    assert held_secret(address) == ""
    assert redact(address) == address


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:se@cret@host:5000/x?token=abc", "https://host:5000/x"),
        ("postgresql://me:secret@db/mlflow", "postgresql://db/mlflow"),
        ("sqlite:////data/me@home/mlflow.db", "sqlite:////data/me@home/mlflow.db"),
        ("http://host", "http://host"),
        ("postgresql://mlflow:aB3/xY9+Zq==@db.example/mlflow", "postgresql://db.example/mlflow"),
        ("mysql+mysqldb://me:12/se@cret@db/mlflow?ssl=1", "mysql+mysqldb://db/mlflow"),
    ],
)
def test_secrets_are_not_shown(uri: str, shown: str) -> None:
    assert bare(uri) == shown


def test_messages_of_libraries_lose_the_secrets() -> None:
    uri = "https://me:secret@host:5000/x?token=abc"
    text = f"cannot reach {uri}\nor https://me:secret@host/y with auth ('me', 'secret') token=abc"
    assert (
        without_secrets(text, uri)
        == "cannot reach https://host:5000/x?*** or https://host/y with auth ('me', '***') ***"
    )
    assert without_secrets("disk is full\n[SQL: INSERT INTO metrics]\n(Background)", uri) == "disk is full"
    password = "aB3/xY9+Zq=="
    told = without_secrets(f"no host in {password}@db", f"postgresql://mlflow:{password}@db/mlflow")
    assert told == "no host in ***@db"
