"""The tests: ``test_<module>.py``, ``test_<subject>_<condition>_<outcome>``."""
