"""Lists the licences of what pyproject.toml names, as installed: ``make licenses``."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import tomllib

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
SETS = {
    "The package": PROJECT["dependencies"],
    "Extra `arrow`": EXTRAS["arrow"],
    "Extra `local`": EXTRAS["local"],
    "Extra `dev`, for work on the package": EXTRAS["dev"],
}
COPYLEFT = re.compile(r"\b(A|L)?GPL|General Public|EUPL|SSPL|\bMPL|Mozilla", re.IGNORECASE)


def license_of(name: str) -> str:
    """What a distribution says of its licence: an expression, a text of one line, or classifiers."""
    metadata = distribution(name).metadata
    classifiers = [
        each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier", []) if each.startswith("License ::")
    ]
    text = metadata.get("License", "")
    short = text if text and "\n" not in text and len(text) < 60 else ""
    files = [each for each in distribution(name).files or [] if each.stem.upper().startswith("LICEN")]
    mit = any("Permission is hereby granted, free of charge" in file.read_text() for file in files)
    unstated = "MIT, by its text" if mit else "not stated"
    return metadata.get("License-Expression") or short or ", ".join(classifiers) or unstated


def closure(names: list[str]) -> set[str]:
    """The distributions that these need, of those that are installed here."""
    found: set[str] = set()
    while names:
        name = re.split(r"[^\w.-]", names.pop(), maxsplit=1)[0].lower().replace("_", "-")
        try:
            needs = [] if name in found else distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        names += [need for need in needs if "extra ==" not in need]
    return found


def main() -> None:
    """Print the page."""
    print("# Licences of the dependencies\n\nWritten by `make licenses`, from the metadata of the locked versions.")
    for title, requirements in SETS.items():
        print(f"\n## {title}\n\n| Package | Version | Licence |\n|---|---|---|")
        for requirement in sorted(requirements, key=str.lower):
            name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
            if name != PROJECT["name"]:
                print(f"| {name} | {distribution(name).version} | {license_of(name)} |")
    everything = closure([*PROJECT["dependencies"], *EXTRAS["arrow"], *EXTRAS["local"]])
    copyleft = {name: license_of(name) for name in sorted(everything) if COPYLEFT.search(license_of(name))}
    print("\n## Copyleft, weak (MPL) or strong\n")
    print(f"Of the {len(everything)} packages that these install, without `dev` and with what Airflow needs:\n")
    print("\n".join(f"- {name}: {text}" for name, text in copyleft.items()) or "none.")


if __name__ == "__main__":
    main()
