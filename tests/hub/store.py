"""Keep each repository as a bare git repository, so that every commit and blob id is git's own."""

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.hub.attributes import DEFAULT_ATTRIBUTES
from tests.hub.protocol import Refusal

_POINTER_HEAD = b"version https://git-lfs.github.com/spec/v1\n"
_POINTER_LIMIT_BYTES = 200
_NO_OBJECT = "0" * 40


@dataclass(frozen=True)
class Pointer:
    """What git holds in place of a large file: its SHA-256 and size (Git LFS specification, version 1)."""

    oid: str
    size_bytes: int

    def text(self) -> bytes:
        """Write the pointer file."""
        return _POINTER_HEAD + f"oid sha256:{self.oid}\nsize {self.size_bytes}\n".encode()


@dataclass(frozen=True)
class Entry:
    """One file or folder of a commit; `size_bytes` is that of the git object, 0 for a folder."""

    path: str
    folder: bool
    oid: str
    size_bytes: int
    pointer: Pointer | None


@dataclass(frozen=True)
class Write:
    """Put a file, whose content is a pointer file if it is a large one."""

    path: str
    content: bytes


@dataclass(frozen=True)
class Remove:
    """Take away a file, or a folder with all that is in it."""

    path: str
    folder: bool


@dataclass(frozen=True)
class Logged:
    """One commit of the history; `date` is ISO 8601 in UTC, with milliseconds as the client demands."""

    oid: str
    author: str
    date: str
    title: str
    message: str


@dataclass(frozen=True)
class Repository:
    """A folder: `git` is bare, `lfs` holds large files by SHA-256, `private` is there if it is private."""

    repo_id: str
    folder: Path

    @property
    def private(self) -> bool:
        """Whether a token is needed to see it."""
        return (self.folder / "private").exists()

    def git(
        self, *arguments: str, data: bytes | None = None, author: str = "system", index: str = ""
    ) -> bytes:
        """Run git in the repository without any configuration of this machine.

        Raises:
            subprocess.CalledProcessError: If git fails.
        """
        # Nothing else of the environment: in a git hook it has variables that name another repository.
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
        env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        for role in ("AUTHOR", "COMMITTER"):
            env[f"GIT_{role}_NAME"], env[f"GIT_{role}_EMAIL"] = author, f"{author}@localhost"
            env[f"GIT_{role}_DATE"] = f"{int(time.time())} +0000"
        if index:
            env["GIT_INDEX_FILE"] = index
        command = ["git", f"--git-dir={self.folder / 'git'}", *arguments]
        return subprocess.run(command, input=data, capture_output=True, check=True, env=env).stdout

    def refs(self, kind: str) -> dict[str, str]:
        """List branches ("heads") or tags ("tags") with the commit each one names."""
        form = (
            "--format=%(refname:lstrip=2) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"
        )
        lines = self.git("for-each-ref", form, f"refs/{kind}").decode().splitlines()
        return dict(line.split(" ") for line in lines)

    def resolve(self, revision: str) -> str:
        """Find the commit that a branch, a tag or a commit id names.

        Raises:
            Refusal: 404 RevisionNotFound if there is none.
        """
        for kind in ("heads", "tags"):
            if oid := self.refs(kind).get(revision):
                return oid
        try:
            # `--verify` keeps ranges out, `^{commit}` asks whether the object is there.
            return (
                self.git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
                .decode()
                .strip()
            )
        except subprocess.CalledProcessError as error:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound") from error

    def entries(self, commit: str) -> list[Entry]:
        """List all files and folders of a commit by path."""
        rows = []
        for row in self.git("ls-tree", "-r", "-t", "-l", "-z", commit).decode().split("\0")[:-1]:
            facts, path = row.split("\t", 1)
            _, kind, oid, size = facts.split()
            rows.append((path, kind == "tree", oid, 0 if size == "-" else int(size)))
        pointers = self._pointers(
            [oid for _, folder, oid, size in rows if not folder and size <= _POINTER_LIMIT_BYTES]
        )
        return [Entry(path, folder, oid, size, pointers.get(oid)) for path, folder, oid, size in rows]

    def files(self, commit: str) -> dict[str, Entry]:
        """Map the path of each file to its entry."""
        return {entry.path: entry for entry in self.entries(commit) if not entry.folder}

    def read(self, oid: str) -> bytes:
        """Read a blob."""
        return self.git("cat-file", "blob", oid)

    def _pointers(self, oids: list[str]) -> dict[str, Pointer]:
        found = {}
        out = self.git("cat-file", "--batch", data="".join(f"{oid}\n" for oid in oids).encode())
        while out:
            head, rest = out.split(b"\n", 1)
            oid, _, size = head.decode().split(" ")
            text, out = rest[: int(size)], rest[int(size) + 1 :]
            if text.startswith(_POINTER_HEAD):
                fields = dict(line.split(" ", 1) for line in text.decode().splitlines())
                found[oid] = Pointer(fields["oid"].removeprefix("sha256:"), int(fields["size"]))
        return found

    def commit(
        self, branch: str, parent: str, changes: list[Write | Remove], message: str, author: str
    ) -> str:
        """Make one commit and move the branch from `parent` to it, or do nothing at all.

        Args:
            branch: Name of the branch; made if `parent` is empty.
            parent: The commit the branch must be at; empty for the first commit.
            changes: What to change, in order.
            message: Whole commit message.
            author: Name of the author.

        Returns:
            The id of the new commit.

        Raises:
            Refusal: 404 EntryNotFound if a removed path is not there; 412 if the branch is elsewhere.
        """
        lines = [line for change in changes for line in self._index_lines(change, parent)]
        with tempfile.TemporaryDirectory() as scratch:
            index = f"{scratch}/index"
            self.git("read-tree", parent or "--empty", index=index)
            self.git("update-index", "-z", "--index-info", data="".join(lines).encode(), index=index)
            tree = self.git("write-tree", index=index).decode().strip()
        parents = ("-p", parent) if parent else ()
        oid = self.git("commit-tree", tree, *parents, data=message.encode(), author=author).decode().strip()
        try:
            self.git("update-ref", f"refs/heads/{branch}", oid, parent or _NO_OBJECT)
        except subprocess.CalledProcessError as error:
            raise moved() from error
        return oid

    def _index_lines(self, change: Write | Remove, parent: str) -> list[str]:
        if isinstance(change, Write):
            blob = self.git("hash-object", "-w", "--stdin", data=change.content).decode().strip()
            return [f"100644 {blob}\t{change.path}\0"]
        prefix = f"{change.path.rstrip('/')}/"
        gone = [
            path
            for path in self.files(parent)
            if (path.startswith(prefix) if change.folder else path == change.path)
        ]
        if not gone:
            raise Refusal(404, f"A file with this name doesn't exist: {change.path}", "EntryNotFound")
        return [f"0 {_NO_OBJECT}\t{path}\0" for path in gone]

    def log(self, commit: str) -> list[Logged]:
        """List the history, newest first."""
        dates = "--date=format-local:%Y-%m-%dT%H:%M:%S.000Z"
        form = "--format=%H%x00%an%x00%ad%x00%s%x00%b%x01"
        rows = self.git("log", dates, form, commit).decode().split("\x01\n")[:-1]
        return [
            Logged(oid, author, date, title, message.strip())
            for oid, author, date, title, message in (row.split("\0") for row in rows)
        ]


def moved() -> Refusal:
    """Say, as the Hub does, that the branch is no longer where the client thinks it is."""
    return Refusal(412, "A commit has happened since. Please refresh and try again.")


def locate(root: Path, owner: str, name: str) -> Repository:
    """Name a repository, whether or not it exists."""
    return Repository(f"{owner}/{name}", root / owner / name)


def create(repository: Repository, private: bool) -> None:
    """Make the repository with its first commit, which holds `.gitattributes` as on the Hub.

    Raises:
        FileExistsError: If it is there.
    """
    repository.folder.mkdir(parents=True)
    (repository.folder / "lfs").mkdir()
    if private:
        (repository.folder / "private").touch()
    repository.git("init", "--quiet", "--bare", "--initial-branch=main", str(repository.folder / "git"))
    first = Write(".gitattributes", DEFAULT_ATTRIBUTES.encode())
    repository.commit("main", "", [first], "initial commit", "system")
