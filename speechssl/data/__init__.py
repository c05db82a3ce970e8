"""Corpora in and out: Kaldi data dirs, manifests, folders, feature archives; acoustic features."""
