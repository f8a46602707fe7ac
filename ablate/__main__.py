"""`python -m ablate`, where the command is not installed, such as in a job on a cluster."""

from ablate.cli import main

main()
