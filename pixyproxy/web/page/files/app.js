const said = document.getElementById("said");
if (said) said.textContent = "Every picture is kept and gets an address that does not expire.";
