"""A rewrite as a branch of a git working tree: one commit whose message carries the evidence."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sidecar.errors import RuleError, RuleReason

AUTHOR = ("-c", "user.name=pronoia", "-c", "user.email=pronoia@localhost")


def commit_branch(repository: Path, branch: str, texts: Mapping[Path, str], message: str) -> str:
    """Commit the files' new texts on a new branch from HEAD; the commit's hash.

    What is checked out, staged or edited in the working tree is not touched: the
    commit is made in a worktree of its own, which is removed afterwards.

    Raises: RuleError with git's words.
    """
    root = Path(_git(repository, "rev-parse", "--show-toplevel"))
    with tempfile.TemporaryDirectory(prefix="pronoia-git-") as name:
        tree = Path(name) / "tree"
        _git(root, "worktree", "add", "--quiet", "-b", branch, str(tree))
        try:
            for path, text in texts.items():
                try:
                    inside = path.resolve().relative_to(root.resolve())
                except ValueError as error:
                    raise RuleError(
                        RuleReason.NOT_WRITABLE, f"{path} is not in the working tree {root}"
                    ) from error
                (tree / inside).write_text(text, encoding="utf-8")
                _git(tree, "add", "--", str(inside))
            _git(tree, *AUTHOR, "commit", "--quiet", "-m", message)
            return _git(tree, "rev-parse", "HEAD")
        finally:
            _git(root, "worktree", "remove", "--force", str(tree))


def _git(where: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(where), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode != 0:
        words = " ".join((done.stderr or done.stdout).split())
        raise RuleError(RuleReason.NOT_WRITABLE, f"git {arguments[0]}: {words[:300]}")
    return done.stdout.strip()
