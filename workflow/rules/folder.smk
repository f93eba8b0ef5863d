# Before the first job: whether results can be written, whether there is room, and who else is at work in this folder.
from tgdpet import costs, failures, folder

if workflow.is_main_process:
    BILL = costs.times(costs.estimate(CONFIG, STUDIES), len(RUNS))
    print(costs.bill_text(BILL), file=sys.stderr)
    for path in RUNS if not workflow.dryrun else []:
        try:
            folder.check_writable(path)
        except ValueError as error:
            raise WorkflowError(str(error)) from None
    for note in (
        folder.room(RUNS[0], costs.peak_gb(BILL)),
        folder.holder(Path.cwd(), RUNS),
    ):
        if note:
            print(note, file=sys.stderr)


# Runs once Snakemake has its lock.
onstart:
    folder.hold(Path.cwd(), RUNS)


onerror:
    text = "".join(Path(path).read_text(encoding="utf-8") for path in log)
    for line in failures.summary(text):
        print(line, file=sys.stderr)
