# Before the first job: whether results can be written, whether there is room, and who else is at work in this folder.
from tgdpet import failures, folder

if workflow.is_main_process:
    BILL = costs.estimate(CONFIG, STUDIES)
    print(costs.bill_text(BILL), file=sys.stderr)
    if not workflow.dryrun:
        try:
            folder.check_writable(R)
        except ValueError as error:
            raise WorkflowError(str(error)) from None
    for note in (folder.room(R, costs.peak_gb(BILL)), folder.holder(Path.cwd())):
        if note:
            print(note, file=sys.stderr)


# Runs once Snakemake has its lock.
onstart:
    folder.hold(Path.cwd())


onerror:
    text = "".join(Path(path).read_text(encoding="utf-8") for path in log)
    for line in failures.summary(text):
        print(line, file=sys.stderr)
