"""The module's self-test in the real application, which fails unless every test really ran.

    Slicer --testing --no-splash --additional-module-paths SFDASegmenter
           --python-script Testing/tools/run_in_slicer.py

Slicer's own runner calls it a success when there is no test, or when all are skipped. Here a test
may be skipped only for what this version of Slicer does not have. With ``--testing`` Slicer leaves
when this returns, with a failure if any Python error occurred.
"""

from __future__ import annotations

import unittest

OLDER = "this version of Slicer has no "  # begins the reasons for which a test may be skipped


def run(test_case: type[unittest.TestCase]) -> None:
    """Run all tests of a class.

    Raises:
        RuntimeError: one failed or was skipped without need, or none has run.
    """
    names = unittest.defaultTestLoader.getTestCaseNames(test_case)
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(map(test_case, names)))
    if not result.wasSuccessful():
        raise RuntimeError(f"{test_case.__name__} failed; see above")
    reasons = sorted({reason for _, reason in result.skipped})
    needless = [reason for reason in reasons if not reason.startswith(OLDER)]
    if needless:
        raise RuntimeError(
            f"{len(result.skipped)} of {result.testsRun} tests skipped: {'; '.join(needless)}"
        )
    passed = result.testsRun - len(result.skipped)
    if passed == 0:
        raise RuntimeError(f"{test_case.__name__} has no tests")
    print(*(f"skipped: {reason}" for reason in reasons), f"{passed} tests passed", sep="\n")


def main() -> None:
    import slicer

    print(f"Slicer {slicer.app.applicationVersion}")
    if not hasattr(slicer.modules, "sfdasegmenter"):
        raise RuntimeError(
            "Slicer has not loaded the module SFDASegmenter: give its folder with "
            "--additional-module-paths, and see the messages above"
        )
    from SFDASegmenter import SFDASegmenterTest

    run(SFDASegmenterTest)


if __name__ == "__main__":
    main()
