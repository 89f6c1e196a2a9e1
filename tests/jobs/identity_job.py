"""The digest of functions that capture numbers in every way, in a process of its own: a line for each."""

from captures import CAPTURES, digest_of

if __name__ == "__main__":
    for name, make in CAPTURES.items():
        print(name, digest_of(make(1.5)), sep=": ")
