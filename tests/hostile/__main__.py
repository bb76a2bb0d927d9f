import argparse
import faulthandler
import sys

from tests.hostile import driver, worker
from tests.hostile.worker import Limits


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m tests.hostile", description="Hostile calls, drawn from a seed, each judged."
    )
    parser.add_argument("--count", type=int, default=300, help="how many calls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="workers at a time")
    parser.add_argument("--only", type=int, metavar="K", help="show and run call K alone")
    parser.add_argument("--show", type=int, default=3, help="findings shown of each sort")
    parser.add_argument("--seconds", type=int, default=Limits().seconds, help="limit on a call")
    parser.add_argument("--plant", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only is not None:
        faulthandler.enable()
        return worker.show(arguments.seed, arguments.only, arguments.plant)
    limits = Limits(seconds=arguments.seconds)
    outcomes = driver.run(arguments.count, arguments.seed, arguments.jobs, limits, arguments.plant)
    clean = driver.summarise(outcomes, arguments.seed, arguments.show, sys.stdout)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
