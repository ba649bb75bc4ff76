"""A rewrite as a branch of a git working tree: one commit whose message carries the evidence."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from sidecar.errors import RuleError, RuleReason

NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")
AUTHOR = ("-c", "user.name=pronoia", "-c", "user.email=pronoia@localhost")
TIMEOUT_SECONDS = 60.0
NEVER_ASK = {"GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": "true"}


def commit_branch(
    repository: Path, branch: str, changes: Mapping[Path, Callable[[str], str]], message: str
) -> str:
    """Commit the files, changed from what HEAD has of them, on a new branch from there; the commit's hash.

    What is checked out, staged or edited in the working tree is neither touched nor committed: the
    commit is made in a worktree of its own, which is removed afterwards. Without it there is no branch.

    Raises: RuleError with git's words, or where a change does not fit what is committed.
    """
    root = working_tree(repository)
    with tempfile.TemporaryDirectory(prefix="pronoia-git-") as name:
        tree = Path(name) / "tree"
        try:
            # A hook after a checkout is about what people see; those that look at commits do run.
            _git(root, *NO_HOOKS, "worktree", "add", "--quiet", "--detach", str(tree))
            for path, change in changes.items():
                inside = _inside(path, root)
                _change(tree / inside, change, path)
                _git(tree, "add", "--", str(inside))
            _git(tree, *AUTHOR, "commit", "--quiet", "-m", message)
            commit = _git(tree, "rev-parse", "HEAD")
            _git(root, "branch", branch, commit)
            return commit
        finally:
            if tree.exists():
                _git(root, "worktree", "remove", "--force", str(tree))


def working_tree(path: Path) -> Path:
    """The top of the git working tree that a file or folder is in. Raises: RuleError."""
    folder = path if path.is_dir() else path.parent
    return Path(_git(folder, "rev-parse", "--show-toplevel"))


def _inside(path: Path, root: Path) -> Path:
    try:
        return path.resolve().relative_to(root.resolve())
    except ValueError as error:
        raise RuleError(RuleReason.NOT_WRITABLE, f"{path} is not in the working tree {root}") from error


def _change(committed: Path, change: Callable[[str], str], path: Path) -> None:
    """Raises: RuleError where people edited the rules without committing that."""
    try:
        text = committed.read_bytes().decode()
        committed.write_bytes(change(text).encode())
    except (OSError, ValueError) as error:
        words = f"{path} differs from what is committed of it; commit that first ({error})"
        raise RuleError(RuleReason.HAND_EDITED, words) from error


def _git(where: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(where), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **NEVER_ASK},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuleError(RuleReason.NOT_WRITABLE, f"git: {error}") from error
    if done.returncode != 0:
        words = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        verb = next(one for one in arguments if one not in (*NO_HOOKS, *AUTHOR))
        raise RuleError(RuleReason.NOT_WRITABLE, f"git {verb} in {where}: {words[:300]}")
    return done.stdout.strip()
