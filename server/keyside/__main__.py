"""`python -m keyside` is `keyside`."""

from keyside.cli import main

if __name__ == "__main__":
    main()
