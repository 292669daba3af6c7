#!/bin/sh
# Ten things that a privacy officer does: sh examples/users/privacy_officer.sh SAMPLES (a folder with source.jpg, target.jpg, target.mp4)
set -eu
samples=$1
cp "$samples/source.jpg" colleague.jpg
cp "$samples/target.jpg" photo.jpg
cp "$samples/target.mp4" clip.mp4
mkdir -p archive/2024 archive/2025
cp "$samples/target.jpg" archive/2024/visit.jpg
cp "$samples/target.jpg" archive/2025/visit.jpg

echo "1. nobody is to be known in this clip"
facefusion run --processors face_anonymiser -t clip.mp4 -o nobody.mp4 --end 0.3 --report review.html
echo "2. was anybody missed? the page, and the evidence"
test -s review.html && test -s review.json
echo "3. squares, or the whole head"
facefusion run --processors face_anonymiser --face-anonymiser-model pixelate -t photo.jpg -o squares.png
facefusion run --processors face_anonymiser --face-anonymiser-model head -t photo.jpg -o head.png
echo "4. everybody but one who agreed; if nobody is like that, it is said"
facefusion run --processors face_anonymiser --face-anonymiser-model blur -t photo.jpg -o others.png --exempt colleague.jpg
echo "5. a whole archive, with its folders"
facefusion run --processors face_anonymiser --face-anonymiser-model blackout -t archive -o public
test -f public/2024/visit.jpg && test -f public/2025/visit.jpg
echo "6. who agreed to what, until when"
facefusion consent add anna colleague.jpg --until 2999-12-31 --uses source
facefusion consent list
echo "7. who must never take part"
facefusion blocklist list
echo "8. a consent ends; the entry stays"
facefusion consent revoke anna
echo "9. was this file made by us, and changed since?"
facefusion verify nobody.mp4
printf x >> squares.png
if facefusion verify squares.png; then echo "a changed file was not noticed" >&2; exit 1; fi
echo "10. what runs here, under which licences, and who signs"
facefusion models list
facefusion doctor
