"""The corpus engine: a corpus in, one output folder of units or features out; resumable, exact, verified.

    plan     the manifest's rows cut into shards: a function of the manifest alone
    encode   one utterance, of any length, to frames or ids; `batches` many at once, on a GPU
    shard    `run_shard`: the rows of one shard to files, atomically; the only place where work is done
    pool     local processes that run shards; a dead or hanging one costs its shard's time, never the run
    journal  which shards are done, with the sha256 of their files
    merge    done shards to the final files, the sidecar, the report and `sha256sums`
    run      all of it in the right order; `outputs` reads a folder back and verifies it

Every launcher (local pool, `--shard i/n` on a cluster) does the same: take shards that the journals do not name, run
them, write them down. Whatever is killed and started again in whatever number, the final files have the same bytes.
"""
