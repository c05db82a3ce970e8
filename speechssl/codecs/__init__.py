"""Neural codecs: audio to acoustic tokens and back. `model` is what is used, `learning` what is trained."""
