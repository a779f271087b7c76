# SPDX-License-Identifier: Apache-2.0
"""How far the registration moves apart when a header turns the head by 15 degrees and shifts it by 20 mm.

``python -m benchmarks.turned_headers DATA docs/results/turned_headers.json --extractor deepbet`` writes the table of
docs/raw_scans.md. Ten scans: the raw ones in ``DATA/raw``, extracted once for each header, then prepared patients and healthy scans. Each is
registered as it is, and with a header turned about an axis drawn at random and shifted in a direction drawn at random. The
error of a point is the distance between the places that the two registrations give it in the scan; the mean is over the
template's brain. About four minutes of one core.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np

from custom.benchmark.cells import Table
from custom.benchmark.rendering import write_json
from custom.preparation.brain_extraction import extract_brain
from custom.preparation.registration import register_to_template
from custom.volumes.packaged_template import brain_template
from custom.volumes.read import read_scan
from custom.volumes.resampling import Affine

SCANS, TURN_DEG, SHIFT_MM, LIMIT_MM = 10, 15.0, 20.0, 2.0


def scans(data: Path) -> Iterator[tuple[Path, Path | None]]:
    """Yield scans and their brain masks, None for raw ones."""
    for path in sorted((data / "raw").glob("*.nii.gz")):
        yield path, None
    for folder in (*sorted((data / "Test").iterdir()), data / "Train" / "ixi"):
        for contrast in ("t1", "t2", "flair"):
            for path in sorted((folder / contrast).glob("*.nii.gz")):
                yield path, folder / "mask" / path.name.replace(f"_{contrast}.", "_mask.")


def turned(centre_mm: Affine, rng: np.random.Generator) -> Affine:
    """Return a turn about the centre, axis drawn at random, followed by a shift in a direction drawn at random."""
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    cross = np.cross(np.eye(3), axis)
    angle = np.radians(TURN_DEG)
    matrix = np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    matrix[:3, 3] = centre_mm - matrix[:3, :3] @ centre_mm + SHIFT_MM * direction
    return matrix


def error_mm(path: Path, mask: Path | None, seed: int, extractor: str) -> tuple[float, float]:
    """Return the mean and the largest distance of the template's brain voxels between the two registrations."""
    read = read_scan(path, "scan")
    brain = np.asarray(nib.load(mask).dataobj) > 0 if mask else None

    def registered(affine: Affine) -> Affine:
        own = extract_brain(read.array, affine, extractor, path.name) if brain is None else brain
        return register_to_template(read.array, own, affine, path.name).template_to_scan

    centre = read.affine[:3, :3] @ (np.array(read.array.shape) - 1) / 2 + read.affine[:3, 3]
    header = turned(centre, np.random.default_rng(seed))
    template = brain_template()
    points = np.argwhere(template.mask) @ template.affine[:3, :3].T + template.affine[:3, 3]
    apart = np.linalg.inv(header) @ registered(header @ read.affine) - registered(read.affine)
    distances = np.linalg.norm(points @ apart[:3, :3].T + apart[:3, 3], axis=1)
    print(path.name, distances.mean(), flush=True)
    return float(distances.mean()), float(distances.max())


def main() -> None:
    """Measure ten scans and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--extractor", default="atlas", help="of the raw scans")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    chosen = [*scans(arguments.data)][:SCANS]
    with ProcessPoolExecutor(arguments.workers) as pool:
        found = [pool.submit(error_mm, *scan, seed, arguments.extractor) for seed, scan in enumerate(chosen)]
    errors = [future.result() for future in found]
    rows = [
        (
            (path.name.partition(".")[0], "prepared" if mask else f"raw, {arguments.extractor}"),
            (f"{mean:.2f}", f"{largest:.2f}"),
        )
        for (path, mask), (mean, largest) in zip(chosen, errors, strict=True)
    ]
    held = sum(mean <= LIMIT_MM for mean, _ in errors)
    table = Table(
        f"Error of the registration in mm where the header is turned by {TURN_DEG:g} degrees and shifted by {SHIFT_MM:g} mm",
        ("scan", "kind"),
        ("mean", "largest"),
        tuple(rows),
        (f"Mean at most {LIMIT_MM:g} mm in {held} of {len(rows)} scans.",),
    )
    write_json(table, arguments.output, "python -m benchmarks.turned_headers DATA FILE")


if __name__ == "__main__":
    main()
