import json

from spaces.describe import describe
from spaces.load import load_experiment
from spaces.override import override


def test_description_is_json_and_tells_settings_apart() -> None:
    laptop = load_experiment("exp4", "laptop")
    plain = describe(laptop)
    assert json.loads(json.dumps(plain)) == plain
    assert describe(override(laptop, ["optim.lr=0.5"])) != plain
    assert plain["space"]["optim.lr"]["attributes"]["log"] is True  # type: ignore[index]
