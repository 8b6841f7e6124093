"""`python -m org …`"""

from org.cli import main

if __name__ == "__main__":
    main()
