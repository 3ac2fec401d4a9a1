// Whether a key that is pressed on a widget has to be kept from the page. A notebook has commands that edit it on letters,
// on Enter and on combinations; only saving is let through. A page of the site has nothing to edit.
const onSite = document.documentElement.dataset.content_root !== undefined;
const toBeKept = ({ key, ctrlKey, metaKey }) => !onSite && !((ctrlKey || metaKey) && key.toLowerCase() === "s");
