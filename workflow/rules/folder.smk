# Before the first job: whether results can be written, whether there is room, and who else is at work in this folder.
from tgdpet.workflow import costs, failures, lock, snakemake_internals

if snakemake_internals.is_main_process(workflow):
    BILL = costs.times(costs.estimate(CONFIG, STUDIES), len(RUNS))
    CORES = snakemake_internals.cores(workflow)
    print(
        costs.headline(SOURCE, CONFIG, STUDIES, len(RUNS), BILL, CORES), file=sys.stderr
    )
    print(costs.bill_text(BILL), file=sys.stderr)
    for path in RUNS:
        try:
            lock.check_writable(path)
        except ValueError as error:
            raise WorkflowError(str(error)) from None
    for note in (
        lock.room(RUNS[0], costs.peak_gb(BILL)),
        lock.holder(Path.cwd(), RUNS),
    ):
        if note:
            print(note, file=sys.stderr)


# Runs once Snakemake has its lock.
onstart:
    lock.hold(Path.cwd(), RUNS)
    for path in RUNS:
        lock.remove_left_over(path)
    snakemake_internals.ask_only_when_a_job_ends(workflow)


onerror:
    text = "".join(Path(path).read_text(encoding="utf-8") for path in log)
    for line in failures.summary(text):
        print(line, file=sys.stderr)
