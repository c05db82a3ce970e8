# shellcheck shell=bash disable=SC2154,SC2034
# What speaks the mels of decoders: the vocoder $mel_vocoder (../kerstin/mel_vocoder trains one), or Griffin-Lim where it is empty.
# Sets behind, options of speechssl resynth and convert-voice; vocoder_card, an INPUT of `once`; copy, the row "copy" or nothing.
behind=() vocoder_card=() copy=''
if [ -n "$mel_vocoder" ]; then
  if [ ! -d "$mel_vocoder" ]; then echo "$0: --mel-vocoder must name a folder, not '$mel_vocoder'" >&2; exit 2; fi
  behind=(--mel-vocoder "$mel_vocoder") vocoder_card=("$mel_vocoder/card.json") copy=copy
fi

# copy_synthesis DATA OUT: recordings by the vocoder of their own mels, beside which Griffin-Lim's are "inverted"; nothing without one.
copy_synthesis() {
  if [ -z "$copy" ]; then return; fi
  once "$2" "$data" "${vocoder_card[@]}" -- speechssl resynth "$1" "${behind[@]}" --quiet -o "$2"
}
