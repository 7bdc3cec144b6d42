"""One round on your own image: a model proposes, you answer, Parfocal measures."""

from parfocal import Client, import_image, round_spec

image = import_image("sections", project="vnc", image="stack1")
with Client() as client:
    client.projects.create("vnc")
    spec = round_spec(images=[image.path], base_model="mito", strategy="random", budget=8)
    client.rounds.create("vnc", "round-1", spec)
    for _ in client.rounds.watch("vnc", "round-1"):  # yields whenever the round changes
        for leased in client.labels.lease("vnc"):
            client.labels.submit("vnc", {leased.query.name: True})  # False, or None for unsure
    status = client.rounds.get("vnc", "round-1").status
    if status.HasField("failure"):
        raise SystemExit(status.failure.message)
    found = status.accuracy
    if found.labels:
        print(f"{found.accuracy:.0%} of the proposals are right, by {found.labels} random ones")
    else:
        print(found.undefined_reason or "nothing was measured")
