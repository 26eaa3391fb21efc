"""The table of the settings says what the record says."""

from book.pages.all_settings import HEAD, rows
from book.runs.settings import SETTINGS, PackageRun, Record, Run
from book.runs.timings import Environment


def environment(tensorflow: str, processor: str = "A") -> Environment:
    versions = {"python": "3.12.1", "tensorflow": tensorflow, "numpy": "2.0.2"}
    return Environment(machine={"processor": processor}, versions=versions)


def run(where: Environment) -> Run:
    return Run("2026-01-01", 1.0, "0", where, claims=[], failed={}, seen={})


def test_each_setting_that_ran_has_a_row():
    old, new = environment("2.19.1"), environment("2.20.0", "B")
    tests = PackageRun("2026-01-01", 1.0, "0", new, passed=7, failed=[])
    record = Record({"a": {"oldest": run(old), "avx": run(new)}, "b": {"oldest": run(new)}}, {"avx": tests})
    avx, oldest = rows(record, package="0")
    assert len(avx) == len(oldest) == len(HEAD)
    assert avx == ["avx", SETTINGS["avx"].about, "3.12.1, 2.20.0, 2.0.2", "B", "1", "7"]
    assert oldest[0] == "oldest"
    assert oldest[2:] == ["3.12.1, 2.19.1, 2.0.2; 3.12.1, 2.20.0, 2.0.2", "A; B", "2", "none"]


def test_tests_of_another_state_of_the_package_say_so():
    tests = PackageRun("2026-01-01", 1.0, "0", environment("2.20.0"), passed=7, failed=[])
    ((*_, chapters, passed),) = rows(Record({}, {"avx": tests}), package="1")
    assert (chapters, passed) == ("0", "7, of the package as it was on 2026-01-01")
