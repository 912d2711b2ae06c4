{{/* What everything is called: the community chart's names, so that its manifests and dashboards find them. */}}
{{- define "driver.name" -}}
{{- .Values.fullnameOverride | default .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "driver.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* Takes a dict of root and component. */}}
{{- define "driver.serviceAccount" -}}
{{- $name := include "driver.name" .root -}}
{{- printf "%s-%s" (.root.Values.serviceAccount.name | default (printf "%s-service-account" $name)) .component -}}
{{- end -}}

{{- define "driver.labels" -}}
app.kubernetes.io/name: {{ include "driver.name" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "driver.featureGates" -}}
{{- $pairs := list -}}
{{- range $name := keys .Values.featureGates | sortAlpha -}}
{{- $pairs = append $pairs (printf "%s=%t" $name (index $.Values.featureGates $name)) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end -}}

{{/* "true" where daemons of ComputeDomains write into the status of their domain, and no ComputeDomainCliques. */}}
{{- define "driver.rowsInStatus" -}}
{{- $gates := .Values.featureGates -}}
{{- $default := ternary (index $gates "AllBeta") true (hasKey $gates "AllBeta") -}}
{{- if not (ternary (index $gates "ComputeDomainCliques") $default (hasKey $gates "ComputeDomainCliques")) -}}true{{- end -}}
{{- end -}}

{{- define "driver.pullSecretNames" -}}
{{- $names := list -}}
{{- range .Values.imagePullSecrets -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- join "," $names -}}
{{- end -}}

{{- define "driver.portOf" -}}
{{- splitList ":" . | last -}}
{{- end -}}

{{- define "driver.webhookSecret" -}}
{{- .Values.webhook.tls.secret.name | default (printf "%s-webhook-tls" (include "driver.name" .)) -}}
{{- end -}}

{{/* The certificate that an earlier install made, or a new one: an upgrade must not break who trusts the old. */}}
{{- define "driver.webhookCertificate" -}}
{{- $service := printf "%s-webhook" (include "driver.name" .) -}}
{{- $host := printf "%s.%s.svc" $service .Release.Namespace -}}
{{- $known := (lookup "v1" "Secret" .Release.Namespace (include "driver.webhookSecret" .)).data | default dict -}}
{{- if and (index $known "ca.crt") (index $known "tls.crt") (index $known "tls.key") -}}
{{- dict "authority" (index $known "ca.crt") "certificate" (index $known "tls.crt") "key" (index $known "tls.key") | toYaml -}}
{{- else -}}
{{- $days := int .Values.webhook.tls.selfSigned.days -}}
{{- $authority := genCA $service $days -}}
{{- $made := genSignedCert $host nil (list $host) $days $authority -}}
{{- dict "authority" ($authority.Cert | b64enc) "certificate" ($made.Cert | b64enc) "key" ($made.Key | b64enc) | toYaml -}}
{{- end -}}
{{- end -}}
