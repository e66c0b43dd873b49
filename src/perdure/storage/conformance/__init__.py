"""What every storage must do, as tests that anybody's storage can run.

    from perdure.storage.conformance import StorageConformance

    class TestMyStorage(StorageConformance):
        def make_storage(self, directory):
            return MyStorage(directory / "data")

`make_storage` is called once for each test, and again where a test opens what an earlier one wrote: the same directory
must then mean the same contents. (In a `conftest.py`, `pytest.register_assert_rewrite("perdure.storage.conformance")` makes
failures more telling.)
"""

from perdure.storage.conformance.cases import StorageConformance
from perdure.storage.conformance.random_groups import RandomGroups, contents

__all__ = ["RandomGroups", "StorageConformance", "contents"]
