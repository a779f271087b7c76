# SPDX-License-Identifier: Apache-2.0
"""Prepare scans as the scanner gave them: extract the brain, correct the bias field, register.

A scan, a folder of scans, a list, a BIDS data set, or a public data set as it was downloaded (--download). A page per
scan shows what was done and how well. Finished scans are kept. With --layout papers the results become a cohort that can be trained on or tested with.

Exit code 4: a scan failed and is left out; the others are done.
"""

import argparse
from pathlib import Path

from ...core.errors import ConfigError
from ...core.files import require_writable
from ..words import closing, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", help="scan (NIfTI, NRRD, MHA, DICOM folder), folder of scans, .txt list, or BIDS data set"
    )
    parser.add_argument("-o", "--output", required=True, help="folder for the prepared scans and their pages")
    parser.add_argument("--contrast", required=True, help="contrast of the scans: t1, t2, flair, ...")
    parser.add_argument("--mask", help="brain mask of the scan, or a folder of masks named like the scans")
    parser.add_argument(
        "--seg", help="lesion mask of the scan, or a folder of masks called like the scans (NAME_seg.nii.gz, ...)"
    )
    parser.add_argument(
        "--extractor",
        default="auto",
        choices=["auto", "hd_bet", "deepbet", "atlas", "none"],
        help="how the brain is found; auto takes the first that is installed",
    )
    parser.add_argument("--bias_field", default="n4", choices=["n4", "none"], help="correction of the bias field")
    parser.add_argument(
        "--spacing", type=float, default=1.0, choices=[1.0, 2.0], help="voxel size of the results in mm"
    )
    parser.add_argument(
        "--template_scale",
        type=float,
        default=0.877,
        help="size of the brains as a share of the average brain's; 0.877 is that of the papers' cohorts, and a model trained "
        "on other scans has it as template_scale in its preparation",
    )
    parser.add_argument(
        "--compare_extractors", action="store_true", help="run a second extractor and compare the masks"
    )
    parser.add_argument(
        "--participant_label", nargs="+", metavar="LABEL", help="of a BIDS data set only these subjects"
    )
    parser.add_argument(
        "--download",
        choices=["ixi", "brats21", "mslub", "atlas_v2", "wmh"],
        help="the input is this public data set, unpacked as it was downloaded",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes, each with one thread")
    parser.add_argument(
        "--layout", nargs=2, metavar=("papers", "DATA"), help="link the results into the data folder DATA"
    )
    parser.add_argument(
        "--name", default="own", help="name of the data set in DATA; a new one is declared in DATA/dataset.json"
    )
    parser.add_argument("--patients", action="store_true", help="the scans are patients (Test), not healthy (Train)")
    parser.add_argument(
        "--splits",
        action="store_true",
        help="with --layout: make the lists too, as uad splits does by default; lists that are there are kept, and none is made "
        "if a scan failed",
    )


def run(arguments: argparse.Namespace) -> int:
    from ...cohorts.datasets import DATASETS, get_dataset
    from ...cohorts.datasets.own import declare
    from ...cohorts.folds import make_splits, present_lists
    from ...rawscans.batch import prepare_batch, usable
    from ...rawscans.chain import RawSettings
    from ...rawscans.downloads import find_download
    from ...rawscans.find import find_raw_scans, participants, with_lesions
    from ...rawscans.papers import write_papers_layout
    from ...runs.lock import RunLock

    if arguments.download and arguments.seg:
        raise ConfigError("--seg is not for --download: the lesion masks of a known data set are found with its scans")
    if arguments.layout and arguments.layout[0] != "papers":
        raise ConfigError(f"the layout {arguments.layout[0]!r} is unknown; the one there is: papers")
    if arguments.splits and not arguments.layout:
        raise ConfigError("--splits makes the lists of a data folder; name the folder: --layout papers DATA")
    known = DATASETS.get(arguments.name) if arguments.layout else None
    if known and known.healthy == arguments.patients:
        raise ConfigError(
            f"{known.title} holds {'healthy scans: leave --patients out' if known.healthy else 'patients: add --patients'}, or "
            "choose another --name"
        )
    output = Path(arguments.output)
    require_writable(output)
    given, contrast = Path(arguments.input), arguments.contrast.lower()
    if arguments.download:
        found = find_download(arguments.download, given, contrast)
        scans, people = list(found.scans), participants(given)
        for note in found.notes:
            print(f"note: {note}")
        for path in found.unknown[:20]:
            print(f"passed over: {path.relative_to(given)}")
        if len(found.unknown) > 20:
            print(f"passed over: {len(found.unknown) - 20} more")
    else:
        scans, people = find_raw_scans(given, contrast, arguments.mask, arguments.participant_label)
        if arguments.seg:
            scans = with_lesions(scans, Path(arguments.seg))
    settings = RawSettings(
        arguments.extractor,
        arguments.bias_field,
        scale=arguments.template_scale,
        spacing_mm=arguments.spacing,
        compare_extractors=arguments.compare_extractors,
    )
    with RunLock(output):
        records = prepare_batch(scans, output, settings, arguments.workers)
        width = max(len(record["case_id"]) for record in records)
        for record in records:
            print(f"{record['case_id']:<{width}}  {record['verdict']:<7}{record.get('error', '')}")
        written: dict[str, str | Path] = {"pages": output / "index.html", "summary": output / "summary.json"}
        following = {
            "look at every page, then": command_line(
                "uad", "predict", arguments.input, "-o", "maps", "--model", "MODEL"
            )
        }
        if arguments.layout:
            data = Path(arguments.layout[1])
            written["list"] = write_papers_layout(
                scans,
                records,
                output,
                data,
                arguments.name,
                arguments.patients,
                people,
                known.folder if known else None,
            )
            complete = all(usable(record) for record in records)
            if not known and any(usable(record) for record in records):
                subject = r"([^_]+)"  # not the session
                declared = declare(data, arguments.name, not arguments.patients, subject)
                written |= {"data set": declared} if declared else {}
            following = {"make the lists": command_line("uad", "splits", data, "--dataset", arguments.name)}
            if arguments.splits and complete:
                if not present_lists(data, get_dataset(arguments.name, data)):
                    written |= {file.name: file for file in make_splits(data, arguments.name)}
                following = {"look for faults in lists and scans": command_line("uad", "check", data)}
    closing(written, following)
    return 0 if all(usable(record) for record in records) else 4
