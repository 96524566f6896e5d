"""Put a run's generator into the package, in half precision, with its provenance.

    python tools/ship.py NAME RUN RESULTS SEED

for example `python tools/ship.py mnist runs/mnist-225/seed-1 results/mnist-225 1`. Writes
ganlib/weights/NAME.safetensors and NAME.json. The score is measured anew, with the weights as
shipped, on the recipe's test images.
"""

import hashlib
import json
import sys
from pathlib import Path

import ganlib
from ganlib import parzen
from ganlib.networks import WEIGHTS, load_network, save_network
from ganlib.training import GENERATOR


def main(name: str, run: str, results: str, seed: str) -> None:
    report = json.loads((Path(results) / "metrics.json").read_text("utf-8"))
    trained = (Path(run) / GENERATOR).read_bytes()
    sha256 = hashlib.sha256(trained).hexdigest()
    if sha256 != report["seeds"][seed]["sha256"]:
        raise SystemExit(f"{run} does not hold the weights that {results} reports for seed {seed}")
    WEIGHTS.mkdir(exist_ok=True)
    path = WEIGHTS / f"{name}.safetensors"
    save_network(load_network(Path(run) / GENERATOR).half(), path)
    validation, test = (ganlib.load(report["data"], s).images for s in ("validation", "test"))
    score = parzen.score(ganlib.sample(ganlib.pretrained(name), 10_000), validation, test)
    about = {
        "what": f"the generator of the recipe {report['recipe']}, seed {seed}, in float16",
        "trained by": report["command"],
        "on": f"the training images of {report['data']}",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "sha256 in float32": sha256,
        "score": {"mean": round(score.mean, 2), "standard error": round(score.error, 2)},
        "versions": report["versions"],
        "hardware": report["hardware"],
    }
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    path.with_suffix(".json").write_text(text, "utf-8")
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {score}")


if __name__ == "__main__":
    main(*sys.argv[1:])
