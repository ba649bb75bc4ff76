"""`python -m sidecar` is `pronoia`."""

from sidecar.cli.main import main

if __name__ == "__main__":
    main()
