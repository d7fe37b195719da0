"""`python -m prompt_oirl` is the command `prompt-oirl`."""

from prompt_oirl.cli.main import main

if __name__ == "__main__":
    main()
