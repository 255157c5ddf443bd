"""What the vendors' clients stand on in the libraries' private parts. A failure's message says what an upgrade changed."""

import inspect

from fredapi import Fred
from polygon.rest.base import BaseClient


def test_polygons_client_still_sends_through_the_pool_that_takes_its_place():
    source = inspect.getsource(BaseClient)
    assert "self.client = urllib3.PoolManager(" in source, "RESTClient keeps its pool elsewhere: ValidatingPool is never used"
    assert "self.client.request(" in source, "RESTClient sends by other means: no time limit, no retry, no check of answers"


def test_fredapi_still_fetches_and_parses_where_ours_replaces_it():
    source = inspect.getsource(Fred.get_series_all_releases)
    assert "self.__fetch_data(" in source, "fredapi fetches elsewhere: no time limit, and the key is in its errors"
    assert "self._parse(" in source, "fredapi parses dates elsewhere: ours is not used, and reading a series is slow"
