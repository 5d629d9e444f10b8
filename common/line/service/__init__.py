"""The detector as a service: parts in, verdicts out, each in the journal before it is answered.

`Service` judges and keeps the books; `make_app` puts HTTP in front of it; `run_server` binds the
socket, with TLS where it is asked for. `docs/serve.md` tells how it is used.
"""
