"""The `medmm` command."""

import argparse
import os
import sys
from pathlib import Path

from medmm_lib.data.loaded import DataError
from medmm_lib.parameters import ParameterError
from medmm_lib.results import PromotionError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0, or 1 with a message on standard error)."""
    options = _parser().parse_args(arguments)
    if "MEDMM_DATA" in os.environ:  # notebooks run in another folder than this command
        os.environ["MEDMM_DATA"] = str(Path(os.environ["MEDMM_DATA"]).expanduser().absolute())
    # Imported here: each command pulls in only what it needs, so that `medmm --help` is quick.
    from medmm_lib.running import RunError
    from medmm_lib.site import SiteError

    try:
        return options.call(options)
    except (RunError, SiteError, ParameterError, PromotionError, DataError) as error:
        print(f"medmm: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="medmm", description="Run the report's chapters and build its website.")
    commands = parser.add_subparsers(required=True, metavar="command")

    run = commands.add_parser("run", help="run the chapters whose notebook, parameters, code or inputs changed")
    run.add_argument("--profile", help="which parameter files: params/PROFILE (default: quick)")
    run.add_argument("--only", action="append", metavar="CHAPTER", help="run this chapter only; may be repeated")
    run.add_argument("--force", action="store_true", help="run chapters that are up to date, too")
    run.add_argument("--sweep", type=Path, metavar="FILE", help="run the chapter of params/sweeps/NAME.yml many times")
    run.set_defaults(call=_run)

    site = commands.add_parser("site", help="build the website in _site from executed chapters")
    site.add_argument("--profile", default="quick", help="whose executed chapters (default: quick)")
    site.add_argument("--pdf", action="store_true", help="instead: the whole report as _pdf/medmm.pdf, by Quarto")
    site.set_defaults(call=_site)

    data = commands.add_parser("data", help="fetch data, look at a data folder").add_subparsers(
        required=True, metavar="action"
    )
    check = data.add_parser("check", help="say what is in a data folder and what is wrong with it")
    check.add_argument("root", type=Path, help="the folder that holds the source's files, or its parent")
    check.add_argument("--source", default="medpix", help="medpix, roco or mimic_cxr (default: medpix)")
    check.set_defaults(call=_check)

    fetch = data.add_parser("fetch", help="bring a public source into a folder, or go on with it")
    fetch.add_argument("source", help="medpix, roco, vqa-rad, slake or pmc-vqa")
    fetch.add_argument("--to", type=Path, help="the folder that gets one for the source (default: MEDMM_DATA)")
    fetch.add_argument("--accept-licence", action="store_true", help="do not ask whether the licence is accepted")
    fetch.set_defaults(call=_fetch)

    results = commands.add_parser("results", help="results of record").add_subparsers(required=True, metavar="action")
    promote = results.add_parser("promote", help="copy a chapter's latest results to report/results")
    promote.add_argument("chapter")
    promote.add_argument("--profile", required=True)
    promote.set_defaults(call=_promote)

    submit = commands.add_parser("submit", help="run a chapter on a cluster, or show with --dry-run what that takes")
    submit.add_argument("target", help="dsri, or kubernetes for a cluster with a queue")
    submit.add_argument("--chapter", required=True)
    submit.add_argument("--profile", default="dsri", help="which parameter file (default: dsri)")
    submit.add_argument("--booked", type=float, default=0.0, help="GPU-days that this month has seen already")
    submit.add_argument("--dry-run", action="store_true", help="print commands and manifests, and do nothing")
    submit.set_defaults(call=_submit)

    report = commands.add_parser("patient-report", help="make a patient's report of a scan, with guarded answers")
    report.add_argument("--image", type=Path, required=True, help="the scan: DICOM or PNG")
    report.add_argument("--segmentation", type=Path, help="its label map: PNG, one byte a pixel")
    report.add_argument("--questions", type=Path, help="JSON objects with question, answer and confidence, one a line")
    report.add_argument("--out", type=Path, required=True, help="the report: a name that ends in .html or .pdf")
    report.add_argument("--language", choices=("en", "nl"), default="en", help="of the report (default: en)")
    report.add_argument("--policy", type=Path, help="a clinic's policy; default: the one of medmm_lib/guard/policy.yml")
    report.add_argument("--model", help="the name of the model that answered, which the report shows")
    report.set_defaults(call=_patient_report)
    return parser


def _run(options: argparse.Namespace) -> int:
    from medmm_lib import parallel, running, site, sweeps

    if options.sweep:
        if options.only or options.profile:
            raise running.RunError("a sweep's file names its chapter and profile: leave --only and --profile out")
        print(f"The table is at {sweeps.run(options.sweep, options.force)}")
        return 0
    profile = options.profile or "quick"
    running.run(profile, options.only, options.force)
    if parallel.MAIN:
        site.prepare(profile)
    return 0


def _site(options: argparse.Namespace) -> int:
    from medmm_lib import site
    from medmm_lib.site import book

    if options.pdf:
        print(f"The report is at {book.build(options.profile)}")
    else:
        print(f"The website is at {site.build(options.profile)}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from medmm_lib.data import LOADERS

    if options.source not in LOADERS:
        raise DataError(f"unknown source {options.source!r}. There are: {', '.join(LOADERS)}")
    report = LOADERS[options.source].read(options.root, max_skipped=1.0).report
    print(report)
    return 1 if report.skipped else 0


def _fetch(options: argparse.Namespace) -> int:
    from medmm_lib.data import fetching

    name, to = options.source.replace("-", "_"), options.to or os.environ.get("MEDMM_DATA")
    if name == "mimic_cxr":
        raise DataError(
            "MIMIC-CXR-JPG comes from PhysioNet, to those who have signed for it: https://physionet.org/content/"
            "mimic-cxr-jpg. Place its files in the folder mimic-cxr-jpg of MEDMM_DATA"
        )
    if name not in fetching.FETCHED:
        raise DataError(f"unknown source {options.source!r}. There are: {', '.join(fetching.FETCHED)}")
    if not to:
        raise DataError("say where to: --to FOLDER, or set MEDMM_DATA")
    source = fetching.FETCHED[name]
    print(f"{source.licence}\nFrom {source.place.address} into {Path(to).expanduser() / source.folder}")
    if not options.accept_licence and not _agreed("Do you accept this licence? [yes/no] "):
        raise DataError("nothing was fetched: the licence was not accepted (type yes, or give --accept-licence)")
    try:
        print(f"{name} is in {fetching.fetch(source, Path(to))}")
    except OSError as error:
        raise DataError(f"{error}. What is already there stays, and the same command goes on") from error
    return 0


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().casefold() == "yes"
    except EOFError:  # nobody is there to answer
        return False


def _patient_report(options: argparse.Namespace) -> int:
    from medmm_lib.guard import Guard
    from medmm_lib.patient import outlines, reading, report

    try:
        guard = Guard.from_policy(options.policy)
        labels, drawn = outlines.read(options.segmentation) if options.segmentation else (None, False)
        asked = report.read_questions(options.questions) if options.questions else []
        scan = report.read_scan(options.image)
        made = report.compose(
            scan, guard, asked, segmentation=labels, language=options.language, model=options.model, drawn=drawn
        )
        report.write(made, options.out)
    except (ValueError, OSError) as error:
        raise DataError(str(error)) from error
    grade = reading.grade(reading.sentences(report.to_html(made)), options.language)
    given = sum(verdict.given for _, verdict in made.asked)
    print(f"The report is at {options.out}: {given} of {len(made.asked)} answers shown, reading grade {grade:.1f}")
    return 0


def _submit(options: argparse.Namespace) -> int:
    from medmm_lib.cluster import submit
    from medmm_lib.cluster.manifests import Workspace

    try:
        made = submit.prepare(options.target, options.chapter, options.profile, Workspace(), booked=options.booked)
        print(made)
        if not options.dry_run:
            submit.run(made)
    except submit.SubmitError as error:
        print(f"medmm: {error}", file=sys.stderr)
        return 1
    return 0


def _promote(options: argparse.Namespace) -> int:
    from medmm_lib import results

    print(f"Result of record: {results.promote(options.profile, options.chapter)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
