"""Put the generator of one run into the package, in half precision, with its provenance.

    python tools/ship.py NAME RUNS RESULTS

for example `python tools/ship.py mnist runs/mnist-225 results/mnist-225`. Of the runs that RESULTS
reports it takes the one with the highest last score on *validation* images, and writes
ganlib/weights/NAME.safetensors and NAME.json. The score is measured anew, with the weights as
shipped, on the test images.
"""

import hashlib
import json
import sys
from pathlib import Path

import ganlib
from ganlib import parzen
from ganlib.checkpoints import GENERATOR
from ganlib.networks import WEIGHTS, load_network, save_network
from ganlib.reproduction import write_json


def main(name: str, runs: str, results: str) -> None:
    report = json.loads((Path(results) / "metrics.json").read_text("utf-8"))
    seeds = report["seeds"]
    seed = max(seeds, key=lambda s: list(seeds[s]["curve"].values())[-1]["averaged"])
    trained = Path(runs) / f"seed-{seed}" / GENERATOR
    sha256 = hashlib.sha256(trained.read_bytes()).hexdigest()
    if sha256 != seeds[seed]["sha256"]:
        raise SystemExit(f"{trained} does not hold the weights that {results} reports")
    WEIGHTS.mkdir(exist_ok=True)
    path = WEIGHTS / f"{name}.safetensors"
    save_network(load_network(trained).half(), path)
    validation, test = (ganlib.load(report["data"], s).images for s in ("validation", "test"))
    score = parzen.score(ganlib.sample(ganlib.pretrained(name), 10_000), validation, test)
    about = {
        "what": f"the averaged generator of the recipe {report['recipe']}, in float16",
        "seed": f"{seed}, of {', '.join(seeds)} the best on validation images",
        "trained by": report["command"],
        "on": f"the training images of {report['data']}",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "sha256 in float32": sha256,
        "score": {"mean": round(score.mean, 2), "standard error": round(score.error, 2)},
        "versions": seeds[seed]["versions"],
        "hardware": seeds[seed]["hardware"],
    }
    write_json(path.with_suffix(".json"), about)
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {score}")


if __name__ == "__main__":
    main(*sys.argv[1:])
